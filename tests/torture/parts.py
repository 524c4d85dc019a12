"""The parts of a group of hard tests, each in a process of its own: forked from this one, which has imported torch and computed nothing.

So a part that hangs or dies costs itself only, its processor time is known, and parts that a record holds already are not tried again.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .check import Check

LONGEST = 2400.0
"""Seconds after which a part is called hung and killed, with the processes of its session."""


@dataclass(frozen=True)
class Part:
    """A part of a group by name, what it tried, and the seconds of CPU that it and all its processes took."""

    group: str
    name: str
    checks: tuple[Check, ...] = ()
    cpu: float = 0.0


def names_of(group: str, quick: bool) -> Sequence[str]:
    """The names of a group's parts."""
    names: Sequence[str] = importlib.import_module(f".{group}", __package__).parts(quick)
    return names


@dataclass
class Record:
    """Parts that have ended, a JSON line each, in a file that a later start goes on with; without a path nothing is kept."""

    path: Path | None
    seed: int
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.path.read_text().splitlines() if self.path and self.path.exists() else ():
            told = json.loads(line)
            part = Part(told["group"], told["name"], tuple(Check(**check) for check in told["checks"]), told["cpu"])
            self.parts[part.group, part.name] = part

    def keep(self, part: Part) -> None:
        self.parts[part.group, part.name] = part
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({"seed": self.seed, **asdict(part)}) + "\n")


def run(parts: Sequence[tuple[str, str]], quick: bool, seed: int, *, at_once: int, until: float) -> Iterator[Part]:
    """Each part as it ends, so many at a time; none is begun after `until` (of the monotonic clock)."""
    waiting, running = list(parts), dict[int, _Running]()
    while running or (waiting and time.monotonic() < until):
        while waiting and len(running) < at_once and time.monotonic() < until:
            begun = _Running(*waiting.pop(0), quick, seed)
            running[begun.pid] = begun
        for pid, each in list(running.items()):
            if (ended := each.ended()) is not None:
                del running[pid]
                yield ended
        time.sleep(0.05)


class _Running:
    def __init__(self, group: str, name: str, quick: bool, seed: int) -> None:
        self.group, self.name, self.began = group, name, time.monotonic()
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the part)
        self.pid = os.fork()
        if self.pid == 0:
            self._work(quick, seed)

    def _work(self, quick: bool, seed: int) -> None:
        try:
            module = importlib.import_module(f".{self.group}", __package__)
            for check in module.checks(self.name, quick, seed):
                self._output.write(json.dumps(asdict(check)) + "\n")
                self._output.flush()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def ended(self) -> Part | None:
        pid, code, used = os.wait4(self.pid, os.WNOHANG)
        if not pid and time.monotonic() - self.began < LONGEST:
            return None
        if not pid:
            os.kill(self.pid, 9)
            _, code, used = os.wait4(self.pid, 0)
        self._output.seek(0)
        checks = [Check(**json.loads(line)) for line in self._output.read().splitlines()]
        if code:
            checks.append(Check(f"{self.name}, to its end", False, f"the part ended with {os.waitstatus_to_exitcode(code)}"))
        return Part(self.group, self.name, tuple(checks), used.ru_utime + used.ru_stime)
