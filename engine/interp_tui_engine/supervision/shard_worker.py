"""One worker of a run, as its supervisor sees it: the process, the log that it writes, the orders it is given, how it ended. Torch-free."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from .. import atomic
from ..events import Stamped
from ..runfolder import Command, EventTail, RunFolder, State, take_commands
from .exit_record import exit_record_of

DEAF_AFTER = 4.0
"""Seconds that an order to stop may lie there: a worker's orders are looked at ten times a second, whatever else it does."""


@dataclass(frozen=True)
class Ended:
    """How a worker ended: a state and exit record for the run, and what it left in its exit.json."""

    state: State
    exit: dict[str, Any]
    said: Mapping[str, Any]


@final
class ShardWorker:
    """A worker of one shard, from its start to its end."""

    def __init__(self, folder: RunFolder, shard: int) -> None:
        self.shard = shard
        self.path = folder.shard(shard)
        self.process: subprocess.Popen[bytes] | None = None
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

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start the process, with nothing left of an earlier one that could be taken for its own."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / "exit.json").unlink(missing_ok=True)
        take_commands(self.path / "control")
        with (self.path / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=dict(environment)
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def order(self, command: Command) -> None:
        """Pass a command on, unless there is nobody left to take it."""
        if self.process is None or not self.running:
            return
        self.asked.append(command)
        if command == "stop" and self._stop_asked is None:
            self._stop_asked = time.monotonic()
        if command == "kill":
            self.process.kill()
            return
        control = self.path / "control"
        control.mkdir(exist_ok=True)
        atomic.write_text(control / command, "", durable=False)

    def order_once(self, command: Command) -> None:
        """Pass a command on that may be due many times over."""
        if command not in self.asked:
            self.order(command)

    def end_if_deaf(self) -> None:
        """Kill a worker that has not so much as taken an order to stop: no thread of it runs. Its last checkpoint is whole."""
        if self._stop_asked is None or time.monotonic() - self._stop_asked < DEAF_AFTER:
            return
        self._stop_asked = None
        if (self.path / "control" / "stop").exists():
            self.order("kill")

    def terminate(self) -> None:
        """Have it stop where no command can be written; asked once, since a second signal ends it at once."""
        if self.process is not None and self.running and not self._terminated:
            self._terminated = True
            self.process.terminate()

    def news(self, *, ended: bool) -> Iterator[Stamped]:
        """Events since the last call: some of them, or, once it has ended, all that are left."""
        while not self._drained:
            before = self._tail.offset
            yield from self._tail.read(seconds=0.2)
            if not ended:
                return
            self._drained = self._tail.offset == before  # what is left, if anything, is a line torn by a kill

    def ended(self) -> Ended:
        """How it ended, from its exit code and what it could still write down."""
        assert self.process is not None and self.process.returncode is not None
        exit_record = atomic.read_json(self.path / "exit.json") or {}
        if exit_record.get("pid") != self.process.pid:  # left by an earlier worker, whose supervisor was killed
            exit_record = {}
        state, exit_info = exit_record_of(self.process.returncode, exit_record, self.asked, self.path / "engine.log")
        return Ended(state, exit_info, exit_record)
