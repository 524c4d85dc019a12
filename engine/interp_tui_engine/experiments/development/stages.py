"""Where a quantity changed over training by more than its errors. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from ...results.development import DevelopmentStage
from .seeds import Error, error_of, half_width

LEVEL = 0.05
"""How often any stage at all may be named where nothing changed: shared out over all differences that are looked at (Bonferroni).
`tests/truth/development.py` measures how often it is."""
MOST_RHAT = 1.1
Series = Mapping[str, Sequence[float | None]]
Column = TypeVar("Column", bound=Sequence[float | None])


def quantities(series: Mapping[str, Column]) -> dict[str, Column]:
    """The series that say something of the model: neither errors nor diagnostics."""
    return {name: values for name, values in series.items() if not name.endswith("_std_error") and name not in ("rhat", "ess")}


def exact(name: str) -> bool:
    """Whether a quantity has no sampling error: it is taken on fixed rows at the checkpoint's own weights."""
    return name == "init_loss" or name.startswith("first order ")


def usable(series: Series, name: str, at: int) -> bool:
    """Whether a checkpoint's number may speak for a stage."""
    if exact(name) or name == "fact_accuracy":
        return True
    rhat, value = series.get("rhat", [None] * (at + 1))[at], series[name][at]
    return (rhat is None or rhat <= MOST_RHAT) and not (name == "llc_mean" and value is not None and value < 0)


class _Change(NamedTuple):
    """From one checkpoint, number `at`, to the next."""

    at: int
    before: float
    after: float
    error: Error

    @property
    def change(self) -> float:
        return abs(self.after - self.before)


def stages(series: Series, freedom: Sequence[Mapping[str, float]] = ()) -> tuple[DevelopmentStage, ...]:
    """For each quantity the largest change from one checkpoint to the next that is clear of both errors, if any is.

    freedom: of each checkpoint, the degrees of freedom of its errors by quantity; an error without them is known well. Quantities without
    errors have no stage, except those that are exact; nor does a negative LLC, which is none: w0 is no minimum there; nor sampled numbers
    of a checkpoint whose chains do not agree.
    """
    steps = {name: _steps(series, name, freedom) for name in quantities(series)}
    compared = sum(step.error.std_error > 0 for of_one in steps.values() for step in of_one)
    changes = []
    for name, of_one in steps.items():
        if clear := [step for step in of_one if step.change > _reach(step.error, compared)]:
            at, before, after, error = max(clear, key=lambda step: step.change)
            changes.append(DevelopmentStage(quantity=name, from_=at, to=at + 1, before=before, after=after, std_error=error.std_error))
    return tuple(changes)


def _steps(series: Series, name: str, freedom: Sequence[Mapping[str, float]]) -> list[_Change]:
    """Those between neighbours that both may speak for a stage."""
    values = series[name]
    stated: Sequence[float | None] = [0.0] * len(values) if exact(name) else series.get(error_of(name), [None] * len(values))
    points: list[tuple[float, Error] | None] = []
    for at, (value, std_error) in enumerate(zip(values, stated, strict=True)):
        known = freedom[at].get(name, math.inf) if at < len(freedom) else math.inf
        speaks = usable(series, name, at)
        points.append((value, Error(std_error, known)) if speaks and value is not None and std_error is not None else None)
    pairs = ((at, before, after) for at, (before, after) in enumerate(pairwise(points)) if before and after)
    return [_Change(at, before[0], after[0], Error.of_sum([before[1], after[1]])) for at, before, after in pairs]


def comparable(series: Series, name: str) -> bool:
    """Whether any two checkpoints that follow each other can be compared in it."""
    return bool(_steps(series, name, ()))


def _reach(error: Error, compared: int) -> float:
    """What a change must exceed, in its own units: an exact quantity's any change."""
    return half_width(error, LEVEL / compared) if error.std_error > 0 else 0.0
