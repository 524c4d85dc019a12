"""Where the children of a sweep or a pipeline run: here, or as tasks of the scheduler that the manifest names. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from .child_runs import ChildRuns, LocalChildRuns, Prepare, Supervise
from .child_tasks import ChildTasks
from .run_recorder import RunRecorder

Key = TypeVar("Key", bound=Hashable)


def children_of(recorder: RunRecorder, prepare: Prepare, supervise: Supervise, environment: Callable[[], dict[str, str]]) -> ChildRuns[int]:
    """The children of this run, none of them started. Raises UserError where its scheduler cannot be used here."""
    if recorder.request.compute.executor == "slurm":
        return ChildTasks(recorder, prepare, environment)
    return LocalChildRuns(recorder, prepare, supervise, environment)
