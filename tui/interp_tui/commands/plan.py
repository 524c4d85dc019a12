"""`plan`: what a feature study of a large model would take, or what a manifest will. Torch-free."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from interp_tui_engine.errors import UserError

from .output import columns, out, out_json
from .shared import JsonOption

Manifest = Annotated[Path | None, typer.Argument(metavar="[M.toml]", help="A manifest: its own estimate. Without it, the options count.")]
Params = Annotated[str | None, typer.Option("--model-params", metavar="N", help="Parameters, such as 70B or 1T.")]
Tokens = Annotated[str | None, typer.Option("--tokens", metavar="N", help="Tokens whose activations are read, such as 1B.")]
Width = Annotated[str | None, typer.Option("--d-model", metavar="N", help="Width of the activations.")]
Layers = Annotated[int, typer.Option("--selected-layers", help="Layers (or sites) captured.")]
Latents = Annotated[str, typer.Option("--latent-dim", metavar="N", help="Latents of the SAE.")]
Dtype = Annotated[str, typer.Option("--dtype", help="Precision of weights and activations.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="auto, local-cpu, single-gpu, cluster, remote-api, frontier-lab.")]
Format = Annotated[str | None, typer.Option("--artifact-format", help="jsonl, jsonl-gzip, parquet, safetensors, zarr.")]
Shard = Annotated[str | None, typer.Option("--target-shard-size", metavar="SIZE", help="Such as 64GB; else the profile's.")]
Active = Annotated[int, typer.Option("--top-k-active", help="Active features a token.")]
Prompts = Annotated[int, typer.Option("--causal-prompts", help="Prompts of a causal test.")]
Features = Annotated[int, typer.Option("--causal-features", help="Features tested causally.")]
Each = Annotated[int, typer.Option("--interventions-per-feature", help="Interventions on each.")]
Batch = Annotated[str, typer.Option("--train-batch-size", metavar="N", help="Activations in a step of SAE training.")]
Weights = Annotated[str | None, typer.Option("--model-weight-size", metavar="SIZE", help="Size of the weights, where it is known.")]
FromEnv = Annotated[bool, typer.Option("--from-env", help="Hold it against what is free on this machine.")]
Profiled = Annotated[
    Path | None, typer.Option("--env-profile", metavar="FILE", help="… or on the machine that doctor --json wrote FILE on.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the plan as JSON too.")]


def plan(
    manifest: Manifest = None,
    model_params: Params = None,
    tokens: Tokens = None,
    d_model: Width = None,
    selected_layers: Layers = 1,
    latent_dim: Latents = "131072",
    dtype: Dtype = "bf16",
    profile: ProfileOption = "auto",
    artifact_format: Format = None,
    target_shard_size: Shard = None,
    top_k_active: Active = 64,
    causal_prompts: Prompts = 256,
    causal_features: Features = 128,
    interventions_per_feature: Each = 2,
    train_batch_size: Batch = "4096",
    model_weight_size: Weights = None,
    from_env: FromEnv = False,
    env_profile: Profiled = None,
    out_file: Out = None,
    json: JsonOption = False,
) -> int:
    """Estimate storage, memory and forward passes before anything runs."""
    from interp_tui_engine import atomic, scaleplan

    if manifest is not None:
        chosen = of_manifest(manifest)
    else:
        needed = {"--model-params": model_params, "--tokens": tokens, "--d-model": d_model}
        missing = [name for name, value in needed.items() if value is None]
        if model_params is None or tokens is None or d_model is None:
            hint = "such as interp-tui plan --model-params 1T --tokens 1B --d-model 16384; or name a manifest"
            raise UserError(f"{', '.join(missing)}: needed for a plan", hint)
        job = scaleplan.Job(
            model_params=scaleplan.count(model_params),
            tokens=int(scaleplan.count(tokens)),
            d_model=int(scaleplan.count(d_model)),
            layers=selected_layers,
            latents=int(scaleplan.count(latent_dim)),
            dtype=dtype,
            active=top_k_active,
            causal_prompts=causal_prompts,
            causal_features=causal_features,
            interventions=interventions_per_feature,
            batch=int(scaleplan.count(train_batch_size)),
            profile=profile,
            target_shard=scaleplan.size(target_shard_size) if target_shard_size else None,
            format=artifact_format,
            weights=scaleplan.size(model_weight_size) if model_weight_size else None,
        )
        if from_env and env_profile is not None:
            raise UserError("--from-env and --env-profile: give one or the other")
        chosen = scaleplan.plan(job, described(env_profile) if env_profile is not None else this_machine() if from_env else None)
    if out_file is not None:
        out_file.absolute().parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(out_file, chosen)
    if json:
        out_json(chosen)
    else:
        for line in lines(chosen):
            out(line)
    return 0


def of_manifest(path: Path) -> dict[str, Any]:
    """A manifest's own estimate, as `--dry-run` has it."""
    from interp_tui_engine import expected_time, manifest
    from interp_tui_engine.runfolder import runs_root
    from interp_tui_engine.supervision import sweep_supervisor

    request = manifest.load(path)
    estimate = expected_time.expected(request, runs_root(), sweep_supervisor.estimate)
    return {
        "schema_version": 1,
        "manifest": str(path),
        "kind": request.kind,
        "seconds": estimate.seconds,
        "seconds_low": estimate.low,
        "seconds_high": estimate.high,
        "memory_bytes": estimate.memory_bytes,
        "disk_bytes": estimate.disk_bytes,
        "notes": list(estimate.notes),
    }


def this_machine() -> Any:
    """What is free here: memory, disk under the working folder, and the largest accelerator's memory."""
    import psutil

    from interp_tui_engine.scaleplan import Machine

    from ..terminal import host

    accelerator = max((gpu.total - gpu.used for gpu in host.asked_gpus()), default=0)
    return Machine(psutil.virtual_memory().available, shutil.disk_usage(os.curdir).free, accelerator)


def described(path: Path) -> Any:
    """The machine of a file that `doctor --json` wrote. Raises UserError where it is none."""
    from interp_tui_engine import atomic, scaleplan

    if not path.is_file():
        raise UserError(f"no such file: {path}", "interp-tui doctor --json > machine.json writes one on that machine")
    return scaleplan.machine_of(atomic.read_json(path), path.name)


def lines(plan: dict[str, Any]) -> list[str]:
    """The plan as people read it."""
    if "manifest" in plan:
        from ..terminal import host

        rows = [("kind", plan["kind"]), ("time", host.duration_range(plan["seconds"], plan["seconds_low"], plan["seconds_high"]))]
        rows += [("memory", host.size(plan["memory_bytes"])), ("disk", host.size(plan["disk_bytes"]))]
        return [*columns(rows), *plan["notes"]]
    from interp_tui_engine.scaleplan import human

    shards = plan["shards"]
    rows = [(key.replace("_", " ").replace("sae", "SAE"), value["human"]) for key, value in plan["estimates"].items()]
    rows += [("causal forward passes", f"{plan['causal_forward_passes']:,}")]
    rows += [("shards", f"{shards['count']:,} of {human(shards['dense_bytes_per_shard'])}")]
    printed = [f"profile {plan['profile']}: {plan['profile_reason']}; records as {plan['format']}", "", *columns(rows, right=[1])]
    if plan["risks"]:
        printed += ["", "risks", *columns([(f"  {risk['level']}", risk["what"]) for risk in plan["risks"]])]
        printed += ["", "what to do", *(f"  {risk['do']}" for risk in plan["risks"])]
    return [*printed, "", "next", *(f"  {step}" for step in plan["next"])]
