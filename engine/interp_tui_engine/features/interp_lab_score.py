"""The score that interp-lab 3.1 ranks features by, for `ranking = "interp-lab"`: the same numbers on the same files.

    importance = .25·association + .30·strong + .20·causal + .15·specificity + .10·stability − .10·side effect, each and all within [0, 1]

association = |r| and specificity = |(mean₊ − mean₋)/(max − min)| over the rows that name the feature (absent ones are passed over there),
positive meaning a score of at least those rows' mean; stability = .35 + mean of the first 16 |values|. With interventions, specificity and
side effect are theirs.
What it measures as stability is only size, and rows that lack a feature do not count: kept as it is, to compare with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .column_store import FeatureColumn
from .effects import Effect
from .split import Design

SIGNATURE = 16


class SeedScore(NamedTuple):
    """One feature's parts and their weighted sum, rounded as there."""

    importance: float
    association: float
    specificity: float
    causal: float
    stability: float


def seed_score(column: FeatureColumn, design: Design, effect: Effect | None, said_side_effect: float = 0.0) -> SeedScore:
    """The score of one column with what is known of its effect. `said_side_effect` is what its records' metadata say, used without one."""
    values = column.values.astype(np.float64)
    scores = design.score[column.rows]
    association = round(abs(_pearson(values, scores)), 6)
    separation = round(abs(_separation(values, scores)), 6)
    first = np.abs(values[:SIGNATURE] + column.offset)
    stability = _clamp(0.35 + float(first.mean())) if len(first) else 0.25
    causal = strong = 0.0
    specificity, side = separation, said_side_effect
    if effect is not None:
        side = round(_clamp(effect.side if effect.side is not None else said_side_effect), 6)
        causal = round(_clamp(abs(effect.directed.mean)), 6)
        specificity = round(_clamp(max(0.0, abs(effect.directed.mean) - side)), 6)
        strong = round(_clamp(effect.strong), 6)
    importance = 0.25 * association + 0.30 * strong + 0.20 * causal + 0.15 * _clamp(specificity) + 0.10 * stability - 0.10 * _clamp(side)
    return SeedScore(round(_clamp(importance), 6), association, round(_clamp(specificity), 6), causal, round(stability, 6))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0


def _separation(x: np.ndarray, y: np.ndarray) -> float:
    if not len(x):
        return 0.0
    positive = y >= y.mean()
    spread = float(x.max() - x.min())
    if spread == 0 or positive.all() or not positive.any():
        return 0.0
    return float(x[positive].mean() - x[~positive].mean()) / spread


def _clamp(value: float) -> float:
    return max(0.0, min(1.0, value))
