"""What each seed gave, kept in a file: a simulation of many seeds that is stopped goes on where it was, at the price of one seed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

SOURCES = Path(__file__).resolve().parents[2] / "engine" / "interp_tui_engine"
Value = TypeVar("Value")


class Record:
    """A file of JSON lines {code, case, seed, value, seconds}; without a path nothing is kept. Lines of other code are passed over.

    seconds: of processor time, of all threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._code = path, digest() if path else ""
        self._known: dict[tuple[str, int], dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                if (entry := _entry(line)) and entry["code"] == self._code:
                    self._known[entry["case"], entry["seed"]] = entry

    def each(self, case: str, seeds: Iterable[int], run: Callable[[int], Value]) -> list[Value]:
        """`run` of every seed, which must give what JSON holds; from the file where it is there."""
        return [self._one(case, seed, run) for seed in seeds]

    def seconds(self, case: str) -> float:
        """Processor seconds of the case's seeds so far, those of earlier calls included."""
        return sum(entry["seconds"] for (name, _), entry in self._known.items() if name == case)

    def _one(self, case: str, seed: int, run: Callable[[int], Value]) -> Value:
        if (case, seed) not in self._known:
            started = time.process_time()
            value = run(seed)
            entry = {"code": self._code, "case": case, "seed": seed, "value": value, "seconds": round(time.process_time() - started, 3)}
            self._known[case, seed] = entry
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        value = self._known[case, seed]["value"]
        return value


def digest() -> str:
    """Of what the numbers follow from: the samplers and the estimators."""
    files = sorted(file for folder in ("samplers", "estimators") for file in (SOURCES / folder).rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _entry(line: str) -> dict[str, Any] | None:
    """None for a line that a kill cut short."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"code", "case", "seed", "value", "seconds"} <= found.keys() else None


current = Record()
"""The record of this process; `python -m tests.truth --record FILE` opens one."""


def use(path: Path | None) -> None:
    """Keep what follows in this file."""
    global current
    current = Record(path)


def each(case: str, seeds: Iterable[int], run: Callable[[int], Value]) -> list[Value]:
    """`Record.each` of the record in use."""
    return current.each(case, seeds, run)
