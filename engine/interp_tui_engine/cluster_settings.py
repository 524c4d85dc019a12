"""What a run asks of Slurm: its manifest's [compute.slurm] over [cluster] of the user's config, and which of it may be trusted. Torch-free.

    config.toml     [cluster]
                    partition = "gpu"
                    setup = ["module load cuda", "source ~/env/bin/activate"]

So the same manifest runs on a laptop and, with `--set compute.executor=slurm`, on a cluster. Both tables hold the keys of `SlurmSpec`.
A manifest may come from someone else, so its shell lines may not run a program of its choice; the user's own may do anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import ValidationError

from . import untrusted
from .errors import Problem, UserError
from .manifest_types import Manifest
from .specs import SlurmSpec
from .user_folders import config_folder
from .validation_errors import ManifestOrigin, explain

CONFIG = "config.toml"
TABLE = "cluster"

_NAME = r"(?!use\b|load\b)\w(?!\S*\.\.)[\w./:+-]*"
_VALUE = r"[\w./:+,=@%-]*"
PLAIN_VARIABLES = frozenset(
    {"CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES"}
    | {"HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "MALLOC_ARENA_MAX", "MKL_NUM_THREADS"}
    | {"NCCL_DEBUG", "NCCL_IB_DISABLE", "NCCL_P2P_DISABLE", "NCCL_SOCKET_IFNAME", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS", "OMP_PLACES"}
    | {"OMP_PROC_BIND", "OPENBLAS_NUM_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TOKENIZERS_PARALLELISM", "TZ"}
    | {"TRANSFORMERS_OFFLINE"}
)
"""Variables that a manifest may set: none names a program, a library, a settings file or another host. A list of those that do would never
be whole: HOME, MODULEPATH, CUDA_INJECTION64_PATH, NCCL_NET_PLUGIN, HF_ENDPOINT, CONDA_ENVS_PATH, INTERP_TUI_CONFIG …"""
HARMLESS_SETUP = re.compile(
    rf"module +(load|unload|swap|switch)( +{_NAME})+|module +purge|ml( +{_NAME})+"
    rf"|export +({'|'.join(sorted(PLAIN_VARIABLES))})={_VALUE}|(conda|mamba|micromamba) +activate +\w[\w.-]*|ulimit( +-?\w+)+"
)
"""Shell lines that a manifest may hold: modules, plain variables, environments by name, limits."""
OUR_OPTIONS = frozenset(
    {"array", "chdir", "comment", "dependency", "error", "exclude", "export", "export-file", "get-user-env", "gid", "help", "input"}
    | {
        "job-name",
        "open-mode",
        "output",
        "parsable",
        "requeue",
        "no-requeue",
        "signal",
        "test-only",
        "uid",
        "usage",
        "version",
        "wait",
        "wrap",
    }
)
"""Options of sbatch that the program gives itself, or that would make it do something else."""


def settings(request: Manifest) -> SlurmSpec:
    """The run's settings, what it leaves out taken from the user's config. Raises UserError for a [cluster] table that cannot be used."""
    own = request.compute.slurm or SlurmSpec.model_validate({})
    given = {name: getattr(own, name) for name in own.model_fields_set}
    usual = defaults()
    merged = {name: getattr(usual, name) for name in usual.model_fields_set} | given
    if usual.setup:  # both: the user's environment first, then what the run needs beside it
        merged["setup"] = [*usual.setup, *(line for line in own.setup if line not in usual.setup)]
    return SlurmSpec.model_validate(merged)


def defaults() -> SlurmSpec:
    """[cluster] of the user's config. Raises UserError naming what in it cannot be used."""
    path = config_folder() / CONFIG
    try:
        table = untrusted.read_toml(path).get(TABLE, {})
    except FileNotFoundError:
        table = {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", "it holds the [cluster] settings; mend it or move it away") from None
    try:
        return SlurmSpec.model_validate(table)
    except ValidationError as error:
        tables = table if isinstance(table, dict) else {}
        problems = explain(error.errors(include_url=False), SlurmSpec, tables, ManifestOrigin())
        raise UserError(f"{path}: [{TABLE}] {'; '.join(map(str, problems))}", "the keys are those of [compute.slurm]") from None


def problems(request: Manifest) -> Iterator[Problem]:
    """What a manifest may not ask of Slurm."""
    compute = request.compute
    if compute.executor == "slurm" and compute.devices != "auto":
        message = (
            "names devices of one machine; on Slurm compute.slurm.tasks says how many share a run, gpus_per_task how many GPUs each has"
        )
        yield Problem("compute.devices", message, value=compute.devices)
    if compute.slurm is None:
        return
    for index, line in enumerate(compute.slurm.setup):
        if not HARMLESS_SETUP.fullmatch(line.strip(" ")):
            message = (
                f"{line!r:.80} could run any program; a manifest may load modules, export plain variables and activate environments, "
                f"other lines stand in [cluster] of {config_folder() / CONFIG}"
            )
            yield Problem(f"compute.slurm.setup.{index}", message, value=line)
    for index, option in enumerate(compute.slurm.extra):
        if (wrong := option_problem(option)) is not None:
            yield Problem(f"compute.slurm.extra.{index}", wrong, value=option)


def option_problem(option: str) -> str | None:
    """What is wrong with a further option of sbatch, if anything."""
    match = re.fullmatch(r"--([a-z][a-z-]*)(=[^\s#'\"\\$`;&|<>]+)?", option)
    if match is None:
        return f"{option!r:.80} is no long option of sbatch, such as '--exclusive' or '--reservation=name'"
    if any(ours.startswith(match[1]) for ours in OUR_OPTIONS):  # sbatch takes an abbreviation for the option, too
        return f"{option!r:.80} is set by the program itself"
    if match[1].startswith("container"):
        return f"{option!r:.80} would run in a system of its own choice"
    return None


def seconds_of(time: str) -> float | None:
    """A time limit in seconds: Slurm's own forms ('90' minutes, '2:00:00', '1-12'), '90min' or '2h'; None for 0, which is no limit."""
    text = time.replace(" ", "")
    for unit, factor in (("min", 60.0), ("h", 3600.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor or None
    days, dash, clock = text.partition("-") if "-" in text else ("0", "", text)
    parts = [int(part) for part in clock.split(":")]
    if dash:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:  # minutes[:seconds]
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return float(((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds) or None
