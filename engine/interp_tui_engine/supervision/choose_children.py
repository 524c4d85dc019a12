"""Where the children of a sweep or a pipeline run: here, or as tasks of the scheduler that the manifest names. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from .child_runs import ChildRuns, LocalChildRuns, Prepare, Supervise
from .child_tasks import ChildTasks
from .run_recorder import RunRecorder

Key = TypeVar("Key", bound=Hashable)


def children_of(
    recorder: RunRecorder,
    interrupts: list[int],
    prepare: Prepare,
    supervise: Supervise,
    environment: Callable[[], dict[str, str]],
) -> ChildRuns[int]:
    """The children of this run, none of them started. Raises UserError where its scheduler cannot be used here.

    interrupts: the list that signals to this process are noted down in, as `process_signals.signals` does.
    """
    if recorder.request.compute.executor == "slurm":
        return ChildTasks(recorder, interrupts, prepare, environment)
    return LocalChildRuns(recorder, interrupts, prepare, supervise, environment)
