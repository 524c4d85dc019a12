"""Whether the nodes of a cluster see the file system of a run folder, found out by a task of a second before the run's own. Torch-free.

The probe writes a file into the run folder. The run's tasks depend on it, so that none starts on a node that sees another file system under
the same path; where it fails, Slurm takes them out of the queue. A file system that has been seen from a partition is not probed again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from ... import atomic
from ...specs import SlurmSpec
from ...user_folders import state_folder
from . import sbatch_script

SEEN = "probe.seen"
"""What the probe leaves in the run's slurm folder: the name of its node."""
MINUTES = 2
RECORD = "shared-folders.json"
MOST = 200


def script(name: str, settings: SlurmSpec, place: Path) -> str:
    """The probe's batch script: the run's own partition, account and nodes, and nothing that costs."""
    asked = settings.model_copy(update={"time": str(MINUTES), "mem": None, "cpus_per_task": None, "array_parallelism": None})
    options = [option for option in sbatch_script.options(f"{name}-probe", "interp-tui-probe", asked, 1, place) if not _of_a_run(option)]
    lines = ["#!/bin/bash", *(f"#SBATCH --{option}" for option in options), "#SBATCH --output=/dev/null"]
    return "\n".join([*lines, f'echo "$SLURMD_NODENAME" >{shlex.quote(str(place / SEEN))}']) + "\n"


def _of_a_run(option: str) -> bool:
    return option.partition("=")[0] in ("array", "output", "open-mode", "requeue", "signal")


def is_known(place: Path, partition: str | None) -> bool:
    """Whether a task of this partition has seen this file system before."""
    record = atomic.read_json(state_folder() / RECORD)
    return isinstance(record, list) and _key(place, partition) in record


def remember(place: Path, partition: str | None) -> None:
    """Note that one has."""
    record = atomic.read_json(state_folder() / RECORD)
    known = [entry for entry in record if isinstance(entry, str)] if isinstance(record, list) else []
    state_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write_json(state_folder() / RECORD, list(dict.fromkeys([*known, _key(place, partition)]))[-MOST:], durable=False)


def _key(place: Path, partition: str | None) -> str:
    return f"{next(_mounts(place))} from {partition or 'the usual partition'}"


def _mounts(place: Path) -> Iterator[str]:
    """The mount points above a path, the nearest first."""
    for path in (place.absolute(), *place.absolute().parents):
        if os.path.ismount(path):
            yield str(path)
    yield "/"
