"""What a feature study of a large model will take: storage, memory and forward passes, before anything is run. Torch-free.

    dense    tokens · d_model · layers · bytes of the dtype
    sparse   tokens · layers · active features a token · bytes of an event in the format
    SAE      2 · d_model · latents · bytes         training, at least  4 · SAE + 2 · batch · d_model · bytes
    causal   prompts · (1 + features · interventions)  forward passes, the 1 being the baseline that all share
    shards   ⌈dense / target⌉

Counts take K M B T as powers of 1000, sizes KB MB GB TB PB as powers of 1024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import UserError

KB, MB, GB, TB, PB = (1024**power for power in range(1, 6))
DTYPES = {"fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2, "fp8": 1, "int8": 1}
EVENT_BYTES = {"jsonl": 160, "jsonl-gzip": 64, "parquet": 32, "safetensors": 16, "zarr": 16}
COUNTS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
SIZES = {"pb": PB, "tb": TB, "gb": GB, "mb": MB, "kb": KB, "b": 1}


@dataclass(frozen=True)
class Profile:
    """A place to run: how large shards should be there, how much dense data it bears, and what records are best written as."""

    target_shard: int
    most_dense: int
    format: str


PROFILES: dict[str, Profile] = {
    "local-cpu": Profile(512 * MB, 100 * GB, "jsonl-gzip"),
    "single-gpu": Profile(4 * GB, 2 * TB, "safetensors"),
    "cluster": Profile(32 * GB, 100 * TB, "safetensors"),
    "remote-api": Profile(GB, 10 * TB, "jsonl-gzip"),
    "frontier-lab": Profile(64 * GB, 10 * PB, "zarr"),
}


@dataclass(frozen=True)
class Job:
    """What is to be studied. `target_shard` and `format` None follow the profile; `weights` None is parameters · dtype."""

    model_params: float
    tokens: int
    d_model: int
    layers: int
    latents: int
    dtype: str
    active: int
    causal_prompts: int
    causal_features: int
    interventions: int
    batch: int
    profile: str
    target_shard: int | None = None
    format: str | None = None
    weights: int | None = None


@dataclass(frozen=True)
class Machine:
    """What a machine has free: bytes of memory, disk, and of its largest accelerator (0 without one)."""

    memory: int
    disk: int
    accelerator: int
    where: str = "here"


def plan(job: Job, machine: Machine | None = None) -> dict[str, Any]:
    """The plan as JSON has it: inputs, estimates in bytes and as people read them, shards, risks, and what to do next.

    Raises UserError for a profile, dtype or format that is not known, and for counts that are not positive.
    """
    _check(job)
    width = DTYPES[job.dtype]
    dense = job.tokens * job.d_model * job.layers * width
    weights = job.weights if job.weights is not None else int(job.model_params * width)
    name, reason = (job.profile, "selected explicitly") if job.profile != "auto" else _fitting(job.model_params, weights, dense)
    profile = PROFILES[name]
    form = job.format or profile.format
    target = job.target_shard or profile.target_shard
    sparse = job.tokens * job.layers * job.active * EVENT_BYTES[form]
    sae = 2 * job.d_model * job.latents * width
    floor = 4 * sae + 2 * job.batch * job.d_model * width
    shards = max(1, math.ceil(dense / target))
    sizes = {
        "model_weights": weights,
        "dense_activations": dense,
        "sparse_records": sparse,
        "sae_parameters": sae,
        "sae_training_floor": floor,
    }
    risks = _risks(job, name, profile, weights, dense, sparse) + (_shortages(machine, sizes) if machine else [])
    return {
        "schema_version": 1,
        "inputs": asdict(job),
        "profile": name,
        "profile_reason": reason,
        "format": form,
        "estimates": {key: {"bytes": value, "human": human(value)} for key, value in sizes.items()},
        "causal_forward_passes": job.causal_prompts * (1 + job.causal_features * job.interventions),
        "shards": {
            "count": shards,
            "target_bytes": target,
            "dense_bytes_per_shard": dense // shards,
            "sparse_bytes_per_shard": sparse // shards,
        },
        "machine": asdict(machine) if machine else None,
        "risks": risks,
        "next": _next(risks),
    }


def count(text: str) -> float:
    """A count such as '70B', '1T', '1e9' or '4_096'. Raises UserError."""
    return _scaled(text, COUNTS, "a count such as 70B, 1T or 4096")


def size(text: str) -> int:
    """Bytes in '64GB', '512MB' or '1000'. Raises UserError."""
    return int(_scaled(text, SIZES, "a size such as 64GB, 512MB or 1000"))


def machine_of(findings: Any, where: str) -> Machine:
    """The machine that `doctor --json`, or interp-lab's `profile-env`, described. Raises UserError where that says too little."""
    if isinstance(findings, dict) and str(findings.get("schema_version", "")).startswith("interp-lab.env_profile"):
        findings = _of_the_peer(findings)
    free = {
        finding["name"]: finding["free_bytes"]
        for finding in (findings if isinstance(findings, list) else ())
        if isinstance(finding, dict) and isinstance(finding.get("name"), str) and isinstance(finding.get("free_bytes"), int)
    }
    if "memory" not in free or "runs folder" not in free:
        raise UserError(f"{where} does not say how much memory and disk a machine has free", "interp-tui doctor --json > machine.json does")
    return Machine(free["memory"], free["runs folder"], free.get("accelerators", 0), where=f"where {where} is from")


def _of_the_peer(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """interp-lab's profile as findings of ours."""
    places = {"memory": ("memory", "available_bytes"), "runs folder": ("disk", "free_bytes")}
    places["accelerators"] = ("capabilities", "max_gpu_memory_bytes")
    tables = {name: profile.get(table) for name, (table, _) in places.items()}
    return [{"name": name, "free_bytes": table.get(places[name][1])} for name, table in tables.items() if isinstance(table, dict)]


def human(value: float) -> str:
    """Bytes in the largest unit of 1024 that leaves at least 1: '238.42 TB'."""
    amount, units = float(value), ["B", "KB", "MB", "GB", "TB", "PB", "EB"]
    place = 0
    while amount >= 1024 and place < len(units) - 1:
        amount, place = amount / 1024, place + 1
    return f"{amount:.2f} {units[place]}" if place else f"{int(value)} B"


def _scaled(text: str, units: Mapping[str, int], wanted: str) -> float:
    clean = text.strip().replace("_", "").replace(",", "").lower()
    suffix = next((unit for unit in units if clean.endswith(unit)), "")
    try:
        value = float(clean.removesuffix(suffix)) * units.get(suffix, 1)
    except ValueError:
        raise UserError(f"{text!r:.40} is not {wanted}") from None
    if not math.isfinite(value) or value <= 0:
        raise UserError(f"{text!r:.40} is not {wanted}", "it must be greater than 0")
    return value


def _check(job: Job) -> None:
    for name, value, choices in (
        ("profile", job.profile, ["auto", *PROFILES]),
        ("dtype", job.dtype, list(DTYPES)),
        ("format", job.format or "jsonl", list(EVENT_BYTES)),
    ):
        if value not in choices:
            raise UserError(f"no {name} {value!r:.40}", f"one of {', '.join(choices)}")
    for name, value in asdict(job).items():
        if isinstance(value, (int, float)) and value <= 0:
            raise UserError(f"{name.replace('_', '-')} is {value}", "it must be greater than 0")


def _fitting(params: float, weights: int, dense: int) -> tuple[str, str]:
    """The smallest profile that bears the model and the dense activations."""
    if params >= 1e12 or weights >= TB or dense >= 100 * TB:
        return "frontier-lab", "a model or a volume of activations of frontier scale"
    if weights >= 80 * GB or dense >= 2 * TB:
        return "cluster", "weights of 80 GB or terabytes of activations"
    if weights >= 8 * GB or dense >= 100 * GB:
        return "single-gpu", "weights of 8 GB or 100 GB of activations"
    return "local-cpu", "small enough for one machine"


def _risks(job: Job, name: str, profile: Profile, weights: int, dense: int, sparse: int) -> list[dict[str, str]]:
    small = name in ("local-cpu", "single-gpu")
    rules = (
        ("high", dense > profile.most_dense, f"dense activations of {human(dense)}, more than {name} bears ({human(profile.most_dense)})",
         "capture fewer layers or tokens at a time, or plan for a larger profile"),
        ("high", job.model_params >= 1e12 and small, f"{name} cannot run a model of {job.model_params:.3g} parameters",
         "run it behind remote-api, on a cluster, or in a frontier lab"),
        ("high", weights >= 80 * GB and small, f"weights of {human(weights)} are large for {name}",
         "use a larger profile, or a quantised or offloaded model"),
        ("medium", sparse > 10 * TB, f"sparse records of {human(sparse)} are still large",
         "keep fewer active features, fewer layers, or a columnar format"),
    )  # fmt: skip
    return [{"level": level, "what": what, "do": do} for level, holds, what, do in rules if holds]


def _shortages(machine: Machine, sizes: Mapping[str, int]) -> list[dict[str, str]]:
    best, where = max(machine.memory, machine.accelerator), machine.where
    rules = (
        (sizes["dense_activations"] > machine.disk, "dense_activations", f"more than the {human(machine.disk)} free on disk {where}",
         "stream activations into training instead of storing them, or store elsewhere"),
        (sizes["model_weights"] > best, "model_weights", f"more than the {human(best)} of memory free {where}", "run the model elsewhere"),
        (sizes["sae_training_floor"] > best, "sae_training_floor", f"more than the {human(best)} of memory free {where}",
         "train fewer latents, or on a larger machine"),
    )  # fmt: skip
    named = {key: key.replace("_", " ").replace("sae", "SAE") for key in sizes}
    return [{"level": "high", "what": f"{human(sizes[key])} of {named[key]}, {what}", "do": do} for holds, key, what, do in rules if holds]


def _next(risks: list[dict[str, str]]) -> list[str]:
    first = ["mend what is marked high before anything is run"] if any(risk["level"] == "high" for risk in risks) else []
    return [
        *first,
        'run one pilot shard: kind = "records" on a few hundred prompts, then kind = "inspect" on what it wrote',
        'train dictionaries on streamed activations (kind = "train_sae"); write sparse records only',
        'test a few features causally (kind = "interventions") before scaling the list up',
    ]
