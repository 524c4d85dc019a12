"""What a row of the migration page is, and the rows of all peers by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["same", "differs"]
Numbers = list[float]


@dataclass(frozen=True)
class Row:
    """One thing a user of the peer does.

    key: the entry of the side's numbers; theirs, ours: calls or files; why: for `differs`, what differs and for what reason, for `same`
    what was compared. rtol, atol: how near the numbers must be; a row that differs must not be so near. tests: of the peer's own tests,
    those that check this.
    """

    key: str
    theirs: str
    ours: str
    outcome: Outcome
    why: str
    rtol: float = 1e-4
    atol: float = 1e-6
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A tool with its rows. `version` is what was compared with; `install` what pip is given, None where nothing can be installed."""

    name: str
    version: str
    install: tuple[str, ...] | None
    rows: tuple[Row, ...]
    others: tuple[tuple[str, int, str], ...] = ()
    """The peer's own tests that no row stands for: their name, how many, and why not."""


def near(ours: Numbers, theirs: Numbers, row: Row) -> bool:
    """Whether all numbers agree as the row asks."""
    return len(ours) == len(theirs) and all(a == b or abs(a - b) <= row.atol + row.rtol * abs(b) for a, b in zip(ours, theirs, strict=True))


def verdict(row: Row, ours: Numbers | None, theirs: Numbers | None) -> str:
    """'passed', 'differs' as stated, or 'failed'."""
    if ours is None or theirs is None:
        return "failed"
    alike = near(ours, theirs, row)
    if row.outcome == "same":
        return "passed" if alike else "failed"
    return "failed" if alike else "differs"
