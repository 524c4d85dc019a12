"""Runs other run folders below one run: what a sweep and a pipeline share. Torch-free.

On this machine each child is under a supervisor in a thread of its own, and its worker dies with this process, to be resumed with the
mother run. On a cluster (`child_tasks`) each is a task that runs the child's own supervisor. Orders that reach the mother run (commands,
signals) are passed on to the children that are running.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar, final

from .. import untrusted
from ..errors import UserError
from ..manifest import Manifest
from ..runfolder import Command, RunFolder, State, Status
from .executors import spare_worker
from .exit_record import RESUME, storage_fault
from .process_signals import interrupted
from .run_recorder import Listener, RunRecorder

Key = TypeVar("Key", bound=Hashable)
Prepare = Callable[[Manifest, Path], RunFolder]
Supervise = Callable[[RunFolder, Listener], Status]


class ChildRuns(ABC, Generic[Key]):
    """The children that are running, by a key of the mother's choice, and the orders in force."""

    tick: float
    """Seconds that `ended` waits for a child to end: between two looks at commands and signals."""

    def __init__(self, recorder: RunRecorder, interrupts: list[int]) -> None:
        self.recorder = recorder
        self.running: dict[Key, RunFolder] = {}
        self.asked: list[str] = []
        self.interrupts = interrupts
        """Signals that have come: what `process_signals.signals` fills."""

    @abstractmethod
    def start(self, key: Key, folder: RunFolder, request: Callable[[], Manifest], listen: Listener = lambda stamped: None) -> None:
        """Run the folder to its end; where it is not there yet, it is made for the manifest that `request` gives."""

    @abstractmethod
    def ended(self) -> tuple[Key, Status] | None:
        """A child that has ended since the last call, waiting a moment for one."""

    @abstractmethod
    def status(self, key: Key) -> Status:
        """How a running child stands."""

    @abstractmethod
    def get_ready(self, kind: str, running: Iterable[Status]) -> None:
        """A child of this kind waits: where it can be got ready, that is due when one of those that run ends soon."""

    @abstractmethod
    def places(self) -> Mapping[str, object]:
        """Where the children ran, for the mother's provenance; empty on this machine."""

    @abstractmethod
    def _stop_waiting(self) -> None:
        """No child that has no place yet gets one any more."""

    @abstractmethod
    def _terminate(self, key: Key) -> None:
        """Have a child stop where no command can be written."""

    @property
    def stopping(self) -> bool:
        """Whether no more children may be started."""
        return "stop" in self.asked or "kill" in self.asked

    @property
    def paused(self) -> bool:
        return self.recorder.status.state == "paused"

    def obey(self) -> None:
        """Take the commands and signals that have come, and pass them on."""
        for command in [*interrupted(self.interrupts, self.asked), *self.recorder.folder.take_commands()]:
            self.order(command)

    def order(self, command: Command) -> None:
        """Give one order to every child that is running."""
        self.asked.append(command)
        for key, folder in self.running.items():
            try:
                if folder.path.exists():
                    folder.send(command)
            except OSError:  # no space for a command file, or a folder that nobody can write
                self._terminate(key)
        if command in ("stop", "kill"):
            self._stop_waiting()
        states: dict[str, State] = {"pause": "paused", "resume": "running", "stop": "stopping"}
        if command in states:
            self.recorder.state(states[command])

    def attend(self, loop: Callable[[], None]) -> Status | None:
        """Go through the mother's loop; a status only where it was cut short as its folder cannot be written."""
        with contextlib.closing(spare_worker.spares):
            try:
                self.recorder.expect()
                loop()
            except OSError as error:
                fault = storage_fault(error, self.recorder.folder.path)
                if fault is None:
                    raise
                with contextlib.suppress(OSError):  # it says where the run stands, which cannot be written either
                    self.order("stop")
                self.drain()
                return replace(self.recorder.status, state="failed", exit=fault)
        return None

    def drain(self) -> None:
        """Wait until every child has ended."""
        while self.running:
            self.ended()


@final
class LocalChildRuns(ChildRuns[Key]):
    """Children under supervisors in threads of this process.

    `prepare` makes a child's folder and `supervise` runs it to its end: `supervisor`'s own, handed in because it imports this module.
    """

    tick = 0.1

    def __init__(
        self,
        recorder: RunRecorder,
        interrupts: list[int],
        prepare: Prepare,
        supervise: Supervise,
        environment: Callable[[], dict[str, str]],
    ) -> None:
        super().__init__(recorder, interrupts)
        self._prepare, self._run, self._environment = prepare, supervise, environment
        self._ended: SimpleQueue[tuple[Key, Status]] = SimpleQueue()

    def start(self, key: Key, folder: RunFolder, request: Callable[[], Manifest], listen: Listener = lambda stamped: None) -> None:
        self.running[key] = folder
        threading.Thread(target=self._supervise, args=(key, folder, request, listen), name=folder.path.name, daemon=True).start()

    def _supervise(self, key: Key, folder: RunFolder, request: Callable[[], Manifest], listen: Listener) -> None:
        try:
            if not folder.manifest_path.exists():
                self._prepare(request(), folder.path)
            self._ended.put((key, self._run(folder, listen)))
        except UserError as error:
            self._ended.put((key, refused(error)))
        except Exception as error:  # what it was is said where the child is
            self._ended.put((key, Status(state="failed", exit={"code": 1, "reason": str(error)})))

    def ended(self) -> tuple[Key, Status] | None:
        try:
            key, status = self._ended.get(timeout=self.tick)
        except Empty:
            return None
        self.running.pop(key)
        return key, status

    def status(self, key: Key) -> Status:
        return status_of(self.running[key])

    def get_ready(self, kind: str, running: Iterable[Status]) -> None:
        if not self.stopping and not self.paused and spare_worker.is_due(running):
            spare_worker.spares.keep(kind, self._environment())

    def places(self) -> Mapping[str, object]:
        return {}

    def _stop_waiting(self) -> None:
        return

    def _terminate(self, key: Key) -> None:
        if (pid := self.running[key].status().worker_pid) is not None:  # it takes the signal for an order
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)


def refused(error: UserError) -> Status:
    """The status of a child that could not even be made."""
    return Status(state="failed", exit={"code": 2, "reason": error.what or str(error), "advice": error.hint, "bad_input": True})


def status_of(folder: RunFolder) -> Status:
    """A child's status; 'queued' for one that has not been made."""
    return folder.status() if folder.manifest_path.exists() else Status(state="queued")


def fraction_of(status: Status) -> float:
    """How far a child is, below 1 until it says that it is done."""
    return min(0.99, status.done / status.total) if status.total else 0.0


def digests_of(mother: RunFolder, children: Iterable[RunFolder]) -> Iterator[tuple[str, str]]:
    """The digests that the children recorded, under their places in the mother's folder."""
    for child in children:
        recorded = (untrusted.table_or_none(child.manifest_path) or {}).get("result")
        digests = recorded.get("sha256") if isinstance(recorded, dict) else None
        place = child.path.relative_to(mother.path).as_posix()
        for name, digest in digests.items() if isinstance(digests, dict) else ():
            yield f"{place}/{name}", str(digest)


def interrupted_with(count: int, what: str) -> tuple[State, dict[str, object]]:
    """How a run ends that was told to stop with `count` children to go."""
    return "interrupted", {"code": 130, "reason": f"stopped with {count} {what} to go", "advice": RESUME}
