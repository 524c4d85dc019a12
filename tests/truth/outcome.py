"""What one simulation of many seeds found, in one shape for the table in RESULTS.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """`hits` of `trials` seeds where `what` happened: the bar covered the truth, a null was called a finding, a planted signal was found.

    `nominal` is the rate that is claimed (0.95 of coverage at 95 %, 0.05 of false positives at 5 %; None for power, which is only stated).
    """

    kind: str
    what: Literal["coverage", "false positives", "power"]
    case: str
    hits: int
    trials: int
    nominal: float | None
    note: str = ""

    @property
    def rate(self) -> float:
        return self.hits / self.trials
