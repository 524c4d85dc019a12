"""One worker of a run, as its supervisor sees it: the process, the log that it writes, the orders it is given, how it ended. Torch-free."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from .. import atomic
from ..events import Stamped
from ..runfolder import Command, EventTail, RunFolder, State, take_commands
from .executors.executor import StartedTask, Task
from .exit_record import DEAF, exit_record_of, loss_record

CODES = {"done": 0, "interrupted": 130}


@dataclass(frozen=True)
class Ended:
    """How a worker ended: a state and exit record for the run, and what it left in its exit.json."""

    state: State
    exit: dict[str, Any]
    written: Mapping[str, Any]


@final
class ShardWorker:
    """A worker of one shard, from its start to its end."""

    def __init__(self, folder: RunFolder, shard: int) -> None:
        self.shard = shard
        self.path = folder.shard(shard)
        self.job: StartedTask | None = None
        self.asked: list[str] = []
        self._tail = EventTail(self.path / "events.jsonl")
        self._drained = False
        self._terminated = False
        self._stop_asked: float | None = None

    @property
    def done_before(self) -> bool:
        """Whether an earlier attempt did all of it."""
        exit_record = atomic.read_json(self.path / "exit.json")
        return isinstance(exit_record, dict) and exit_record.get("state") == "done"

    def task(self, command: Sequence[str], environment: Mapping[str, str]) -> Task:
        """What an executor is to start."""
        return Task(f"shard {self.shard}", command, environment, self.path / "exit.json", self.path / "engine.log")

    def prepare(self) -> None:
        """Make room for a new attempt, with nothing left of an earlier one that could be taken for its own."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / "exit.json").unlink(missing_ok=True)
        take_commands(self.path / "control")
        self._drained = False

    @property
    def running(self) -> bool:
        return self.job is not None and self.job.running

    def order(self, command: Command) -> None:
        """Pass a command on, unless there is nobody left to take it."""
        if self.job is None or not self.running:
            return
        self.asked.append(command)
        if command == "stop" and self._stop_asked is None:
            self._stop_asked = time.monotonic()
        if command == "kill":
            self.job.signal(signal.SIGKILL)
            return
        if command == "stop" and not self.job.started:
            self.job.cancel()
            return
        control = self.path / "control"
        control.mkdir(exist_ok=True)
        atomic.write_text(control / command, "", durable=False)
        if command == "stop":
            self.job.wake()

    def order_once(self, command: Command) -> None:
        """Pass a command on that may be due many times over."""
        if command not in self.asked:
            self.order(command)

    def end_if_deaf(self) -> None:
        """Kill a worker that has not so much as taken an order to stop: no thread of it runs. Its last checkpoint is whole."""
        if self.job is None or self._stop_asked is None or time.monotonic() - self._stop_asked < self.job.order_patience:
            return
        self._stop_asked = None
        if (self.path / "control" / "stop").exists():
            self.asked.append(DEAF)
            self.job.signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Have it stop where no command can be written; asked once, since a second signal ends it at once."""
        if self.job is not None and self.running and not self._terminated:
            self._terminated = True
            self.job.cancel()

    def news(self, *, ended: bool) -> Iterator[Stamped]:
        """Events since the last call: some of them, or, once it has ended, all that are left."""
        while not self._drained:
            before = self._tail.offset
            yield from self._tail.read(seconds=0.2)
            if not ended:
                return
            self._drained = self._tail.offset == before  # what is left, if anything, is a line torn by a kill

    def ended(self) -> Ended:
        """How it ended, from what it could still write down, its exit code and what a scheduler says."""
        assert self.job is not None and not self.job.running
        exit_record = atomic.read_json(self.path / "exit.json")
        if not isinstance(exit_record, dict) or not self.job.left(exit_record):  # left by an earlier worker, whose supervisor was killed
            exit_record = {}
        loss, code = self.job.loss, self.job.exit_code
        if loss is not None and exit_record.get("state") != "done":
            return Ended(*loss_record(loss, exit_record, self.asked), exit_record)
        if code is None:
            code = CODES.get(str(exit_record.get("state")), 1)
        state, exit_info = exit_record_of(code, exit_record, self.asked, self.path / "engine.log")
        return Ended(state, exit_info, exit_record)

    def lost(self, end: Ended) -> bool:
        """Whether another attempt may end better: it lost its place, or fell to an error of its node. What was asked for stands."""
        if {"stop", "kill"} & set(self.asked) or end.exit.get("bad_input") or self.job is None:
            return False
        if self.job.loss is not None:
            return self.job.loss.again
        return end.state in ("crashed", "interrupted") or bool(end.exit.get("elsewhere"))
