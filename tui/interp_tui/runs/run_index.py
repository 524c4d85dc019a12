"""The runs under a folder, listed quickly however many: what is known of ended runs is kept in a file beside them.

The file, `.index/runs.json`, spares a program that starts the reading of ten thousand status files. It is never believed over the folders:
an entry counts only while the status file has the very stamp (inode, time, size) that it was read at, and a status file is only ever
replaced by another. So it may be deleted, be old, be damaged, or be written by several processes at once, the last of which wins; where the
folder cannot be written there is none. A run that goes on is always asked itself.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp_tui_engine import atomic
from interp_tui_engine.numbers import as_finite
from interp_tui_engine.runfolder import RunFolder, Status

from .labels import FILE as LABELS
from .labels import NONE, Labels
from .labels import read as read_labels
from .session import Run, listed_run

FOLDER, FILE = ".index", "runs.json"
VERSION = 1
EARLY = 0.4
"""Seconds after which a first look shows what it has."""
WORTH = 200
"""Ended runs read anew from which on the file is written: below, reading them again costs nothing that anyone notices."""
ENTRY_AT_MOST = 20_000
"""Characters of a run's entry; one with a longer status is read again each time."""

Stamp = tuple[int, int, int]
MISSING: Stamp = (0, 0, 0)


class RunIndex:
    """The runs under a root, read again only where something changed: a refresh of 10,000 ended runs is one stat each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[Stamp, Run]] = {}
        self._labels: dict[str, tuple[Stamp, Labels]] = {}
        self._opened = False
        self._unsaved = 0
        """Ended runs that were read and do not stand in the file."""

    def refresh(self, early: Callable[[list[Run]], None] = lambda runs: None) -> list[Run]:
        """All runs, newest first; empty when the root does not exist. A first look that takes long gives `early` the newest, once."""
        kept = {} if self._opened else _read(self.root)
        self._opened = True
        known: dict[str, tuple[Stamp, Run]] = {}
        due = math.inf if self._known else time.monotonic() + EARLY
        for name in _names(self.root):
            if time.monotonic() > due and known:
                due = math.inf
                early([run for _, run in known.values()])
            stamp, before = _stamp(f"{self.root}/{name}/status.json"), self._known.get(name)
            if before is not None and before[0] == stamp and not before[1].active:
                known[name] = before
            elif stamp != MISSING and (run := _recorded(self.root / name, stamp, kept.get(name))) is not None:
                known[name] = (stamp, run)
            elif before is not None or (self.root / name / "manifest.toml").is_file():
                known[name] = (stamp, listed_run(RunFolder(self.root / name)))
                self._unsaved += not known[name][1].active
            if name in known and (kept_labels := self._labels_of(name)) != known[name][1].labels:
                known[name] = (known[name][0], replace(known[name][1], labels=kept_labels))
        self._known = known
        if self._unsaved >= WORTH:
            self._unsaved = 0
            _write(self.root, known)
        return [run for _, run in known.values()]

    def _labels_of(self, name: str) -> Labels:
        """The user's labels of a run, read again only where they changed; most runs have none."""
        stamp = _stamp(f"{self.root}/{name}/{LABELS}")
        if stamp == MISSING:
            return NONE
        before = self._labels.get(name)
        if before is None or before[0] != stamp:
            before = self._labels[name] = (stamp, read_labels(RunFolder(self.root / name)))
        return before[1]


def _names(root: Path) -> Iterator[str]:
    """The folders that may hold a run, newest first."""
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return iter(())
    return iter(sorted(names, reverse=True))


def _stamp(path: str) -> Stamp:
    try:
        stat = os.stat(path)  # noqa: PTH116 - of ten thousand paths, making them would cost as much as looking
    except OSError:
        return MISSING
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _recorded(path: Path, stamp: Stamp, entry: Any) -> Run | None:
    """The run as its entry has it, if the entry is of the status file that stands there now."""
    if not isinstance(entry, list) or len(entry) != 5 or tuple(entry[:3]) != stamp or not isinstance(entry[3], dict):
        return None
    run = Run(RunFolder(path), Status.from_json(entry[3]), as_finite(entry[4]) or 0.0)
    return None if run.active else run


def _read(root: Path) -> Mapping[str, Any]:
    """The file's entries by the name of the folder; none where it cannot be read or is of another version."""
    value = atomic.read_json(root / FOLDER / FILE)
    if not isinstance(value, dict) or value.get("version") != VERSION or not isinstance(value.get("runs"), dict):
        return {}
    entries: Mapping[str, Any] = value["runs"]
    return entries


def _write(root: Path, known: Mapping[str, tuple[Stamp, Run]]) -> None:
    """Keep what is known of ended runs. A folder that cannot be written, or a full disk, costs only that."""
    entries = []
    for name, (stamp, run) in known.items():
        if stamp != MISSING and not run.active:
            with suppress(ValueError):  # a number that JSON has no word for: that one is read again each time
                entry = json.dumps([*stamp, run.status.to_json(), run.started], allow_nan=False, separators=(",", ":"))
                if len(entry) <= ENTRY_AT_MOST:
                    entries.append(f"{json.dumps(name)}:{entry}")
    with suppress(OSError):
        (root / FOLDER).mkdir(mode=0o700, exist_ok=True)  # runs are private, and so is what is known of them
        text = f'{{"version":{VERSION},"runs":{{' + ",\n".join(entries) + "}}\n"
        atomic.write_text(root / FOLDER / FILE, text, durable=False)
