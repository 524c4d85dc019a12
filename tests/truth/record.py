"""What each seed gave, kept in a file: a simulation of many seeds that is stopped goes on where it was, at the price of one seed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

SOURCES = Path(__file__).resolve().parents[2] / "engine" / "interp_tui_engine"
SAMPLING = ("samplers", "estimators")
"""Folders of the engine that the numbers of sampling kinds follow from."""
Value = TypeVar("Value")


class Record:
    """A file of JSON lines {code, case, seed, value, seconds}; without a path nothing is kept. Lines of other code are passed over.

    seconds: of processor time, of all threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[tuple[str, str, int], dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                if entry := _entry(line):
                    self._known[entry["code"], entry["case"], entry["seed"]] = entry

    def each(self, case: str, seeds: Iterable[int], run: Callable[[int], Value], code: tuple[str, ...] = SAMPLING) -> list[Value]:
        """`run` of every seed, which must give what JSON holds; from the file where it is there, made by the same code in these folders."""
        return [self._one(digest(code) if self._path else "", case, seed, run) for seed in seeds]

    def seconds(self, case: str) -> float:
        """Processor seconds of the case's seeds so far, those of earlier calls included."""
        return sum(entry["seconds"] for (_, name, _), entry in self._known.items() if name == case)

    def _one(self, code: str, case: str, seed: int, run: Callable[[int], Value]) -> Value:
        if (code, case, seed) not in self._known:
            started = time.process_time()
            value = run(seed)
            entry = {"code": code, "case": case, "seed": seed, "value": value, "seconds": round(time.process_time() - started, 3)}
            self._known[code, case, seed] = entry
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        value = self._known[code, case, seed]["value"]
        return value


@cache
def digest(folders: tuple[str, ...] = SAMPLING) -> str:
    """Of the engine's folders that the numbers follow from."""
    files = sorted(file for folder in folders for file in (SOURCES / folder).rglob("*.py"))
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


def each(case: str, seeds: Iterable[int], run: Callable[[int], Value], code: tuple[str, ...] = SAMPLING) -> list[Value]:
    """`Record.each` of the record in use."""
    return current.each(case, seeds, run, code)
