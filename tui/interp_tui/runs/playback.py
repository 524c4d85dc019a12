"""A run's history: its state as it was at any place of its log. Headless; call `at` from a worker thread.

Going on from a place reads what lies between; going back begins at the nearest state that was kept on the way. A stretch that is skipped
is read without the lines that later ones in it replace, as a log that is far ahead is.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass

from interp_tui_engine.events import from_line
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.untrusted import open_regular

from .follow import newest
from .runstate import RunState

STEPS = 50
"""Steps from the beginning of a log to its end."""
BLOCK = 256 << 10
LONGEST_LINE = 16 << 20
KEPT = 12
"""States that are kept, spread over the log."""


@dataclass(frozen=True)
class Moment:
    """The run as it was after the events before byte `offset`; `when` is the newest one's time, `last` whether none came after it."""

    state: RunState
    offset: int
    share: float
    when: float
    last: bool


class Playback:
    """One reader of one log. Every `Moment` has a state of its own, so what was shown of one never changes."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.events_path
        self._kept: dict[int, RunState] = {0: RunState()}

    def step(self, offset: int | None, by: int) -> Moment:
        """The moment `by` steps from the byte `offset` (None: the end of the log), at least one event away where there is one."""
        size = self._size()
        start = size if offset is None else min(offset, size)
        wanted = max(0, min(size, start + by * max(1, size // STEPS)))
        at = self._line_start(min(wanted, start - 1)) if by < 0 else self._line_end(wanted, size)
        return self.at(at)

    def at(self, offset: int) -> Moment:
        """The moment after the lines before byte `offset`, at which one begins."""
        size = self._size()
        begin = max(kept for kept in self._kept if kept <= offset)
        state = copy.deepcopy(self._kept[begin])
        reached = self._read(state, begin, min(offset, size), size)
        return Moment(state, reached, reached / size if size else 1.0, state.updated, reached >= size)

    def _size(self) -> int:
        """Bytes of the log up to its last whole line."""
        try:
            with open_regular(self.path) as file:
                return self._line_start(os.fstat(file.fileno()).st_size)
        except (OSError, ValueError):
            return 0

    def _line_start(self, offset: int) -> int:
        """Where the line begins that byte `offset` lies in."""
        try:
            with open_regular(self.path) as file:
                while offset > 0:
                    start = max(0, offset - BLOCK)
                    file.seek(start)
                    if found := file.read(offset - start).rfind(b"\n") + 1:
                        return start + found
                    offset = start
        except (OSError, ValueError):
            pass
        return 0

    def _line_end(self, offset: int, size: int) -> int:
        """Where the line ends that byte `offset` lies in, at most at `size`."""
        try:
            with open_regular(self.path) as file:
                file.seek(offset)
                return min(size, offset + len(file.readline(LONGEST_LINE)))
        except (OSError, ValueError):
            return size

    def _read(self, state: RunState, begin: int, end: int, size: int) -> int:
        """Apply the lines from `begin` to `end`; returns how far that came."""
        try:
            with open_regular(self.path) as file:
                file.seek(begin)
                while begin < end:
                    data = file.read(min(BLOCK, end - begin))
                    if not data.endswith(b"\n"):
                        data += file.readline(LONGEST_LINE)
                    if not data:
                        break
                    _apply(state, data)
                    begin += len(data)
                    self._keep(begin, state, size)
        except (OSError, ValueError):
            pass
        return begin

    def _keep(self, offset: int, state: RunState, size: int) -> None:
        """Keep this state for going back to, unless one nearby is kept."""
        if len(self._kept) < KEPT and all(abs(offset - kept) > size // KEPT for kept in self._kept):
            self._kept[offset] = copy.deepcopy(state)


def _apply(state: RunState, data: bytes) -> None:
    lines = data.splitlines()
    for line in newest(lines) if len(data) >= BLOCK else lines:
        try:
            state.apply(from_line(line))
        except ValueError:
            continue
