"""A run whose model is split over several devices (`model.parallel`): one process a device, each of which does the whole run in step.

All ranks run the same kind on the same input and have the same numbers, but for the matrices of which each holds a part. The worker
(rank 0) alone has the run's folder, log and orders; what another rank writes goes to a folder of its own that is forgotten, a copy of the
run's as it is when it starts, so that all go on from the same place. What the worker is asked to do is told to all at the same step.
Imports torch.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from ..errors import RunFailed, UserError
from ..events import Event
from ..kind import Kind, Order, Result
from ..manifest import Manifest
from ..runfolder import RunFolder
from ..samplers.sharded.ranks import Ranks
from . import ranks
from .context import Context, Interrupted

ORDERS: tuple[Order, ...] = get_args(Order)
OWN = "rank-*"
"""Folders of other ranks below a shard's."""


def run(kind: Kind, context: Context) -> Generator[Event, None, Result]:
    """`kind.run`, by all the devices that hold the manifest's model. Raises RunFailed where one of them is lost."""
    for left in context.shard_path.glob(OWN):  # of a worker that was killed
        shutil.rmtree(left, ignore_errors=True)
    with ranks.together(context) as group:
        assert group is not None, "there are several devices"
        result = yield from kind.run(in_step(context, group))
        group.meet()
    return result


def follow(kind: Kind, context: Context, rank: int) -> int:
    """Do the run of the worker that started this process, in step with it; returns this process's exit code."""
    with _own_folder(context, rank) as own, ranks.together(context) as group:
        assert group is not None, "there are several devices"
        try:
            for _ in kind.run(in_step(replace(context, folder=own), group)):
                pass
            group.meet()
        except Interrupted:
            return 0
        except (UserError, RunFailed) as error:  # the worker has met the same, unless it is of this device only
            sys.stderr.write(f"rank {rank}: {error}\n")
            return 1
    return 0


def in_step(context: Context, group: Ranks) -> Context:
    """The run as this rank does it: on its device, with its part of the machine's cores, its orders those of the worker."""
    if group.mesh.device_type == "cpu" and context.manifest.compute.threads is None:
        torch.set_num_threads(max(1, torch.get_num_threads() // group.count))
    resumed = bool(group.agreed(int(context.resumed)))
    return replace(context, manifest=_on_device(context.manifest, group), poll=agreed(context.poll, group), resumed=resumed)


def agreed(poll: Callable[[], Order], group: Ranks) -> Callable[[], Order]:
    """`poll` of rank 0, told to all. A collective call, but for work that was interrupted in the middle of a step: it saves alone."""

    def ask() -> Order:
        if isinstance(sys.exc_info()[1], Interrupted):
            return poll()
        return ORDERS[group.agreed(ORDERS.index(poll()) if group.rank == 0 else 0)]

    return ask


def _on_device(manifest: Manifest, group: Ranks) -> Manifest:
    assert manifest.model is not None, "it is what is split"
    device = "cpu" if group.mesh.device_type == "cpu" else f"cuda:{torch.cuda.current_device()}"
    return manifest.model_copy(update={"model": manifest.model.model_copy(update={"device": device})})


@contextlib.contextmanager
def _own_folder(context: Context, rank: int) -> Iterator[RunFolder]:
    """A copy of the run's folder for a rank to write to, gone afterwards."""
    own = context.shard_path / f"rank-{rank}"
    shutil.rmtree(own, ignore_errors=True)
    try:
        shutil.copytree(context.folder.path, own, ignore=_of_others)
        folder = RunFolder(Path(own))
        folder.shard(context.shard).mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _of_others(folder: str, names: list[str]) -> set[str]:
    """What ranks have of their own, and what the supervisor may be writing."""
    apart = ("control", "engine.log", "events.jsonl", "run.lock", "slurm", "status.json", "worker.lock")
    return {name for name in names if name.startswith((".", "rank-", "ranks.")) or ".tmp" in name or name in apart}
