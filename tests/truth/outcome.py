"""What one simulation of many seeds found, in one shape for the table in RESULTS.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SLACK = 0.03
"""What a 95 % bar may miss of its level: 92 % is still called covering."""


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

    @property
    def holds(self) -> bool:
        """Whether bars cover, and controls control, as often as is claimed: `SLACK` less, and as much as chance does with so few seeds.

        Bars that cover more often are no false claim; power is only stated.
        """
        if self.nominal is None or self.what == "power":
            return True
        chance = 3 * (self.nominal * (1 - self.nominal) / self.trials) ** 0.5
        if self.what == "coverage":
            return self.rate >= self.nominal - SLACK - chance
        return self.rate <= self.nominal + SLACK + chance
