"""Keeps up with one run folder: its events reduced, its status, the end of its engine log. Headless; call `read` from a worker thread."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp_tui_engine.errors import UserError
from interp_tui_engine.events import from_line
from interp_tui_engine.runfolder import EventTail, RunFolder, Status
from interp_tui_engine.untrusted import open_regular, text_or_empty

from . import session
from .runstate import RunState
from .traces import DrawSeries

FIRST_SECONDS, CHUNK_SECONDS = 0.02, 0.25
"""How long one `read` may take: short at first, so that a screen has something to show; reading in a thread holds nothing else up."""
DOCUMENT_CHARACTERS = 1 << 20
BLOCK = 256 << 10
LONG, HEAD = 4 << 20, 16 << 10
"""From how many bytes on a log is read from its end first, and how many of its beginning with it: the start of the run stands there."""
REPLACED = re.compile(rb'"type":"progress"|"series":"(?:estimate|headline)"')
LOG_BYTES = 64 << 10
LOG_LINES = 1000


@dataclass(frozen=True)
class RunUpdate:
    """What one `read` found: the run's status, and whether there is more to read at once."""

    status: Status
    more: bool
    gone: bool = False
    """The folder is no longer there."""
    caught_up: float = 1.0
    """How much of the log has been read, until that was all of it once; before, what the events say is older than the status."""


@dataclass(frozen=True)
class Documents:
    """The files of a run that change only when it ends."""

    manifest: str
    result: Mapping[str, Any] | None
    digests: Mapping[str, Any]
    report: str
    damage: str = ""
    """What is wrong with result.json, where there is one that cannot be read."""


class LogTail:
    """The last lines of the workers' logs, files that grow, or are replaced by shorter ones; of several, each line with its worker."""

    def __init__(self, folder: RunFolder) -> None:
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self.read_in_all = 0
        """How many lines were read in all; the last `len(lines)` of them are kept."""
        self._folder = folder
        self._offsets: dict[int, int] = {}

    def read(self) -> None:
        """Take in what was written since, at most the last 64 KiB of each."""
        shard = 0
        while self._take(shard):
            shard += 1

    def _take(self, shard: int) -> bool:
        """Read on in one worker's log; False if there is none."""
        before = self._offsets.get(shard, 0)
        try:
            with open_regular(self._folder.shard(shard) / "engine.log") as file:
                size = os.fstat(file.fileno()).st_size
                if size < before:
                    before = 0
                skipped = size - before > LOG_BYTES
                file.seek(size - LOG_BYTES if skipped else before)
                data = file.read(LOG_BYTES)
        except (OSError, ValueError):
            return False
        whole = data.rfind(b"\n") + 1
        self._offsets[shard] = size - len(data) + whole
        lines = data[:whole].decode("utf-8", errors="replace").splitlines()
        kept = lines[1:] if skipped else lines
        if self._folder.shard(1).is_dir():
            kept = [f"{shard}: {line}" for line in kept]
        self.lines.extend(kept)
        self.read_in_all += len(kept)
        return True


class Follower:
    """One reader of one run. `state` changes only inside `read`, so whoever awaits that may look at it in between.

    A long log is read from its end first: until all of it has been read, `state` is that of its beginning and its last stretch.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.state = self._whole = RunState()
        self.log = LogTail(folder)
        self._tail = EventTail(folder.events_path)
        self._caught_up = False

    def read(self) -> RunUpdate:
        """Take in what the run has said since the last call, for at most a quarter of a second."""
        deadline = time.monotonic() + (CHUNK_SECONDS if self._whole.version else FIRST_SECONDS)
        before = self._tail.offset
        if not self._whole.version and (ends := self._ends()):
            self.state = RunState()
            self._apply(self.state, ends)
        while time.monotonic() < deadline and self._skim():
            pass
        self._whole.apply_all(self._tail.read(seconds=max(0.0, deadline - time.monotonic())))
        self.log.read()
        more = self._tail.behind() and self._tail.offset > before
        self._caught_up = self._caught_up or not more
        if self._caught_up:
            self.state = self._whole
        share = 1.0 if self._caught_up else self._share_read()
        return RunUpdate(session.read_run(self.folder).status, more, not self.folder.path.is_dir(), share)

    def _share_read(self) -> float:
        try:
            return min(0.999, self._tail.offset / max(1, self._tail.path.stat().st_size))
        except OSError:
            return 1.0

    def _skim(self) -> bool:
        """Take in one block of a log that is far ahead, less the lines that later ones replace; False when there is no such block."""
        try:
            with open_regular(self._tail.path) as file:
                if os.fstat(file.fileno()).st_size - self._tail.offset < 2 * BLOCK:
                    return False
                file.seek(self._tail.offset)
                data = file.read(BLOCK)
        except (OSError, ValueError):
            return False
        whole = data.rfind(b"\n") + 1
        self._apply(self._whole, newest(data[:whole].splitlines()))
        self._tail.offset += whole
        return whole > 0

    @staticmethod
    def _apply(state: RunState, lines: list[bytes]) -> None:
        for line in lines:
            try:
                state.apply(from_line(line))
            except ValueError:
                continue

    def _ends(self) -> list[bytes]:
        """The first lines of a long log and its last ones; none of a log that is read at once."""
        try:
            with self._tail.path.open("rb") as file:
                if (size := os.fstat(file.fileno()).st_size) < LONG:
                    return []
                first = file.read(HEAD).splitlines()[:-1]
                file.seek(size - LONG // 4)
                last = file.read(LONG // 4)
        except OSError:
            return []
        return newest([*first, *last[: last.rfind(b"\n") + 1].splitlines()[1:]])

    def documents(self) -> Documents:
        """Manifest, result and report as they are now; empty where they cannot be read."""
        try:
            recorded = session.tables(self.folder).get("result", {}).get("sha256", {})
        except (UserError, AttributeError):
            recorded = {}
        digests = recorded if isinstance(recorded, dict) else {}
        result, report = self.folder.result(), _text(self.folder.report_path)
        return Documents(_text(self.folder.manifest_path), result, digests, report, session.result_damage(self.folder, result))


def newest(lines: list[bytes]) -> list[bytes]:
    """`lines` without progress, estimates and headlines that later ones replace: two thirds of a long run's log need not be parsed."""
    seen: set[bytes] = set()
    kept = []
    for line in reversed(lines):
        match = REPLACED.search(line, 0, 200)
        if match is None or match[0] not in seen:
            kept.append(line)
            if match is not None:
                seen.add(match[0])
    kept.reverse()
    return kept


def _text(path: Path) -> str:
    return text_or_empty(path, DOCUMENT_CHARACTERS)


def mean_trace(folder: RunFolder, columns: int, *, seconds: float = 3.0) -> list[tuple[float, float]]:
    """The mean loss over a run's healthy chains by draw, read in one go: for laying it under another run's."""
    follower = Follower(folder)
    deadline = time.monotonic() + seconds
    while follower.read().more and time.monotonic() < deadline:
        pass
    joined = DrawSeries()
    sums: dict[int, list[float]] = {}
    for chain, trace in follower.state.traces.items():
        if chain not in follower.state.failures:
            for draw, value in trace.means(0, trace.last + 1, columns):
                sums.setdefault(draw, []).append(value)
    for draw in sorted(sums):
        joined.add(draw, sum(sums[draw]) / len(sums[draw]))
    return [*joined.means(0, joined.last + 1, columns)]
