"""What every executor can do: start tasks, say how they stand, signal and cancel them. Torch-free.

A task is one process: a worker of one shard, or the supervisor of a point of a sweep or a step of a pipeline. Its command is the same
wherever it runs; what it has to say it writes into the run folder, so that an executor needs to know only whether it still lives.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A process to start. name: told apart from the run's others by it ('shard 3', 'points/007'). record: the exit.json or status.json in
    which it says how it ended. log: where its output is appended."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    record: Path
    log: Path


@dataclass(frozen=True)
class Loss:
    """How a scheduler lost a task: as people call it, and what would help; `again`: whether to submit it once more."""

    reason: str
    advice: str
    again: bool
    cancelled: bool = False
    """Whether somebody cancelled it: then that is how it ends, like a stop."""


class StartedTask(ABC):
    """One task that has been started."""

    id: str
    """The process id, or the scheduler's id of the job."""
    order_patience: float
    """Seconds that an order to stop may lie there before the worker is taken to hear none."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it may still write: it waits for a place, runs, or has ended so lately that its last files may not be seen yet."""

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether it has (or had) a place; False while it waits in a queue."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """Its process here; None where it runs elsewhere."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """Its exit code once it has ended, negative for a signal; None where nobody can say."""

    @abstractmethod
    def left(self, record: Mapping[str, Any]) -> bool:
        """Whether an exit.json was left by this job, not by an earlier one."""

    @abstractmethod
    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; SIGKILL ends it at once."""

    @abstractmethod
    def wake(self) -> None:
        """Let it go on where somebody has held it (SIGSTOP), so that it can take an order; nothing where that cannot be done."""

    @abstractmethod
    def cancel(self) -> None:
        """Take it out of the queue where it waits; have it stop where it runs."""

    @property
    def loss(self) -> Loss | None:
        """How the scheduler lost it; None where it ended by itself or nobody knows."""
        return None

    @property
    def row(self) -> Mapping[str, Any]:
        """What a scheduler says of it, for status and screens; empty here."""
        return {}


class TaskExecutor(ABC):
    """Starts the tasks of one run."""

    tick: float
    """Seconds between two looks at the tasks: as often as is cheap where they run."""

    @abstractmethod
    def adopt(self, task: Task) -> StartedTask | None:
        """The job that an earlier supervisor started for this task, if it still waits, runs, or has ended well; else None."""

    @abstractmethod
    def submit(self, tasks: Sequence[Task], *, avoid: Sequence[str] = ()) -> list[StartedTask]:
        """Start the tasks, not on the nodes to avoid. Raises UserError where they are refused."""

    @abstractmethod
    def may_retry(self, name: str) -> bool:
        """Whether a task that was lost may be started once more, counting this time."""

    @abstractmethod
    def summary(self) -> Mapping[str, Any]:
        """How the tasks stand together, for the status; empty here."""

    @abstractmethod
    def provenance(self) -> Mapping[str, Any]:
        """Where they ran, for the manifest; empty here."""
