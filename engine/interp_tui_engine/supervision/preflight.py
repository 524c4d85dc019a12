"""What a run will ask of a cluster, and whether that fits, before anything is submitted. Torch-free.

Only what is certain refuses a run: a partition that is not there, a limit that no task could meet, memory or GPUs that no node has. Each
refusal names the smallest change that would do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import cluster_settings
from ..errors import ManifestError, Problem
from ..kind import Estimate
from ..manifest import Manifest, points_of
from ..manifest_types import Manifest as Request
from ..pipeline import KIND as PIPELINE
from ..specs import SlurmSpec
from .executors import sbatch_script, slurm_commands
from .worker_pool import assignments_of, of_kind

LEAST_TIME = 120.0
"""Seconds of a time limit in which a worker can start, load a small model and save what it did."""
MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What will be submitted. hours: of all tasks together, None where their time is not known. memory_bytes: of one task, likewise."""

    tasks: int
    what: str
    at_once: int | None
    hours: float | None
    gpus: int
    memory_bytes: int | None

    @property
    def gpu_hours(self) -> float | None:
        return None if self.hours is None else self.hours * self.gpus

    def lines(self) -> list[str]:
        """The plan in words, for people."""
        at_once = f", at most {self.at_once} at a time" if self.at_once and self.at_once < self.tasks else ""
        spent = "time not known" if self.hours is None else f"about {self.hours:.2g} task-hours, at this machine's speed"
        if self.gpus:
            spent += f", {self.gpu_hours:.2g} GPU-hours" if self.gpu_hours is not None else f", {self.gpus} GPUs a task"
        memory = "memory of a task not known" if self.memory_bytes is None else f"{self.memory_bytes / MIB / 1024:.1f} GiB a task"
        return [f"{self.tasks} {'task' if self.tasks == 1 else 'tasks'}: {self.what}{at_once}", f"{spent}; {memory}"]

    def as_json(self) -> dict[str, Any]:
        plan = {"tasks": self.tasks, "at_once": self.at_once, "task_hours": self.hours, "gpu_hours": self.gpu_hours}
        return plan | {"memory_bytes": self.memory_bytes}


def plan(request: Manifest) -> Plan:
    """What this request will submit."""
    asked, tasks = cluster_settings.settings(request), list(_tasks(request))
    seconds = [estimate.seconds for _, estimate in tasks]
    memory = [estimate.memory_bytes for _, estimate in tasks]
    estimated = [value for value in seconds if value is not None]
    sizes = [value for value in memory if value is not None]
    what = {PIPELINE: "a step each"}.get(request.kind, "one worker") if len(tasks) == 1 or request.kind == PIPELINE else "a share each"
    return Plan(
        tasks=len(tasks),
        what="a point each" if request.sweep else what,
        at_once=asked.array_parallelism,
        hours=sum(estimated) / 3600 if len(estimated) == len(seconds) else None,
        gpus=asked.gpus_per_task or 0,
        memory_bytes=max(sizes) if sizes else None,
    )


def check(request: Request) -> None:
    """Raise ManifestError naming all that cannot fit, UserError where there is no Slurm. Nothing for a run of this machine."""
    if request.compute.executor != "slurm":
        return
    slurm_commands.need_slurm()
    problems_found = list(problems(request))
    if problems_found:
        raise ManifestError("compute.slurm", problems_found)


def problems(request: Manifest) -> Iterator[Problem]:
    """What of the request this cluster cannot do. Nothing where it does not answer: sbatch will say."""
    asked = cluster_settings.settings(request)
    limit = cluster_settings.seconds_of(asked.time) if asked.time else None
    if limit is not None and limit < LEAST_TIME:
        message = (
            f"is too short to start a worker and save, it is told to end after {limit - sbatch_script.margin(asked):.0f} s; at least '2'"
        )
        yield Problem("compute.slurm.time", message, value=asked.time)
    together = request.together
    if asked.gpus_per_task and asked.gpus_per_task < together:
        key = "compute.gpus_per_worker" if request.compute.gpus_per_worker > 1 else "model.parallel"
        message = f"is less than the {together} devices that hold the model ({key}); at least {together}"
        yield Problem("compute.slurm.gpus_per_task", message, value=asked.gpus_per_task)
    try:
        partitions = {row["name"].rstrip("*"): row for row in slurm_commands.partitions()}
    except slurm_commands.Unreachable:
        return
    names = asked.partition.split(",") if asked.partition else [row for row in partitions if partitions[row]["name"].endswith("*")]
    for name in names:
        if name not in partitions:
            yield Problem("compute.slurm.partition", f"there is no partition {name!r}; there are {', '.join(partitions)}", value=name)
        else:
            yield from _beyond(asked, limit, partitions[name], _needs(request))


def _beyond(asked: SlurmSpec, limit: float | None, partition: Mapping[str, str], needed: int | None) -> Iterator[Problem]:
    """What is more than a partition has."""
    name = partition["name"].rstrip("*")
    longest = _longest(partition["time"])
    if limit is not None and longest is not None and limit > longest:
        yield Problem("compute.slurm.time", f"is more than partition {name} allows; at most '{partition['time']}'", value=asked.time)
    cores = _number(partition["cpus"])
    if asked.cpus_per_task and cores and asked.cpus_per_task > cores:
        yield Problem("compute.slurm.cpus_per_task", f"is more than a node of {name} has; at most {cores}", value=asked.cpus_per_task)
    gpus = sum(int(count) for count in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", partition["gres"]))
    if (asked.gpus_per_task or 0) > gpus:
        most = f"at most {gpus}" if gpus else "it has none: set 0, or another partition"
        yield Problem("compute.slurm.gpus_per_task", f"is more than a node of {name} has; {most}", value=asked.gpus_per_task)
    node, given = _number(partition["memory"]), _mib(asked.mem) if asked.mem else None
    if given is not None and node and given > node:
        yield Problem("compute.slurm.mem", f"is more than a node of {name} has; at most '{node}M'", value=asked.mem)
    if needed is None:
        return
    least = math.ceil(needed / MIB)
    if given is not None and least > given:
        yield Problem("compute.slurm.mem", f"is less than a task is expected to need; at least '{least}M'", value=asked.mem)
    elif node and least > node:
        message = f"a task is expected to need {least:,} MiB, a node of {name} has {node:,}; a smaller batch_size or another partition"
        yield Problem("compute.slurm.partition", message, value=name)


def _tasks(request: Manifest) -> Iterator[tuple[str, Estimate]]:
    """Each task with what it is expected to take."""
    if request.sweep:
        for point, child in points_of(request):
            yield point.name, of_kind(child)
        return
    if request.step:
        for step in request.step:
            yield step.id, Estimate(None, None, None)
        return
    whole, shares = of_kind(request), assignments_of(request)
    for what, _ in shares:
        yield what, Estimate(None if whole.seconds is None else whole.seconds / len(shares), whole.memory_bytes, None)
    yield ("joins them", Estimate(0.0, whole.memory_bytes, None)) if shares else ("all", whole)


def _needs(request: Manifest) -> int | None:
    return plan(request).memory_bytes


def _longest(time: str) -> float | None:
    return None if time in ("infinite", "n/a") else cluster_settings.seconds_of(time)


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _mib(mem: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMGT]?)", mem).groups()  # type: ignore[union-attr]
    return int(int(number) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}[unit]) or 0
