"""Chains as an event tells of them: their newest numbers, read with care from columns that anyone may have written. Headless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interp_tui_engine.numbers import as_finite


@dataclass(frozen=True)
class Failure:
    """Why a chain was left out."""

    chain: int
    step: int
    cause: str


@dataclass(frozen=True)
class ChainNow:
    """The newest numbers of one chain; None where the run has not said, or where the number was not finite."""

    chain: int
    step: int = 0
    steps_total: int = 0
    draws: int = 0
    draws_total: int = 0
    loss: float | None = None
    llc: float | None = None
    grad: float | None = None
    distance: float | None = None
    failure: Failure | None = None

    @property
    def fraction(self) -> float:
        done, total = (self.step, self.steps_total) if self.steps_total else (self.draws, self.draws_total)
        return min(1.0, done / total) if total > 0 else 0.0


def chain_rows(values: Mapping[str, Any]) -> list[ChainNow]:
    """The chains of one event, whose columns may be short, missing or of anything."""
    chains = values.get("chains")
    if not isinstance(chains, list):
        return []
    steps_total, draws_total = count(values.get("steps_total")), count(values.get("draws_total"))

    def column(name: str) -> list[Any]:
        cells = values.get(name)
        cells = cells if isinstance(cells, list) else []
        return cells + [None] * (len(chains) - len(cells))

    cells = zip(*(column(name) for name in ("step", "draws", "loss", "llc", "grad", "distance")), strict=False)
    return [
        ChainNow(
            chain,
            count(step),
            steps_total,
            count(draws),
            draws_total,
            as_finite(loss),
            as_finite(llc),
            as_finite(grad),
            as_finite(distance),
        )
        for chain, (step, draws, loss, llc, grad, distance) in zip(chains, cells, strict=False)
        if type(chain) is int
    ]


def spread(points: list[Any]) -> int:
    """How many draws lie between the first of an event's points and the last."""
    ends = [point[0] for point in (points[0], points[-1]) if isinstance(point, list) and point and type(point[0]) is int]
    return int(ends[1] - ends[0]) if len(ends) == 2 else 0


def count(value: Any) -> int:
    """The value as a count: 0 for anything that is none."""
    number = as_finite(value)
    return max(0, int(number)) if number is not None else 0
