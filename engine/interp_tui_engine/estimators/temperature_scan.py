"""What λ̂ does from one inverse temperature to the next, at one step size and localization: a plateau, or none.

Around a minimum of the loss λ̂ rises with nβ while localization holds the chains, and levels off at the learning coefficient. Where w0 is no
minimum, as of a language model on some rows, colder chains find losses below that at w0: λ̂ then falls with nβ, to below zero in the end,
and no temperature gives a learning coefficient of w0. It can still be compared between models at equal settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ERRORS = 2.0
SHARE = 0.15
"""Of λ̂: what two neighbouring temperatures of a plateau may differ by."""
LEAST_FACTOR = 1.5
"""Between two n_beta for their agreement to say anything: closer ones agree anyway."""


@dataclass(frozen=True)
class TemperaturePoint:
    """λ̂ at one inverse temperature, with its standard error where it has one."""

    n_beta: float
    llc: float
    error: float | None


def verdict_on(points: Sequence[TemperaturePoint], at: float) -> str:
    """What the scan says of λ̂ at n_beta = `at`, in one sentence."""
    scan = sorted(points, key=lambda point: point.n_beta)
    if len(scan) < 2:
        return "no other n_beta was tried: whether λ̂ levels off is not known"
    listed = ", ".join(_number(point) for point in scan)
    over = f"λ̂ is {listed} at n_beta {', '.join(f'{point.n_beta:g}' for point in scan)}"
    near = [pair for pair in pairwise(scan) if at in (pair[0].n_beta, pair[1].n_beta) and pair[1].n_beta >= LEAST_FACTOR * pair[0].n_beta]
    if any(alike(*pair) for pair in near):
        return f"{over}: a plateau"
    if any(falls(*pair) for pair in pairwise(scan)):
        return f"{over}: no plateau, colder chains find losses below that at w₀, which is no minimum; compare λ̂ at one n_beta only"
    return f"{over}: no plateau, it measures n_beta too; compare λ̂ at one n_beta only"


def alike(warmer: TemperaturePoint, colder: TemperaturePoint) -> bool:
    """Whether two estimates agree within their errors, and are known well enough for that to mean something."""
    allowed = SHARE * abs(warmer.llc)
    return abs(colder.llc - warmer.llc) <= allowed and _error(warmer, colder) <= allowed


def falls(warmer: TemperaturePoint, colder: TemperaturePoint) -> bool:
    """Whether λ̂ falls as it gets colder, by more than its errors and a plateau's unevenness."""
    return warmer.llc - colder.llc > max(ERRORS * _error(warmer, colder), SHARE * abs(warmer.llc))


def _error(warmer: TemperaturePoint, colder: TemperaturePoint) -> float:
    return math.hypot(warmer.error or 0.0, colder.error or 0.0)


def _number(point: TemperaturePoint) -> str:
    return f"{point.llc:.3g}" if point.error is None else f"{point.llc:.3g} ± {point.error:.2g}"
