"""One thing that was tried, and whether it held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """What was tried and how it ended; `note` says what was wrong, or what was measured."""

    what: str
    passed: bool
    note: str = ""
