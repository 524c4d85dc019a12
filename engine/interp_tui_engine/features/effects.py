"""What interventions on a feature add up to: its effect with a Student-t interval, its side effects, and both beside its controls.

d = base − changed for verbs that take away, changed − base for verbs that put in
criterion = |mean d|      side = mean |side_effect|      specificity = max(0, |mean d| − side)
strong = max(0, specificity − mean |d_control|)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .interventions import Intervention


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % Student-t interval; the ends are None where one value says nothing of its spread."""

    mean: float
    low: float | None
    high: float | None
    count: int

    def clear_of(self, value: float) -> bool:
        """Whether the whole interval lies on one side of `value`."""
        return self.low is not None and self.high is not None and (self.low > value or self.high < value)


@dataclass(frozen=True)
class Effect:
    """One feature's causal evidence for one criterion; all in the score's own unit."""

    feature_id: str
    directed: Interval
    p: float | None
    """Two-sided p-value of a mean directed effect of 0 (one-sample t-test over prompts)."""
    side: float | None
    control: Interval | None
    """Directed effect of the controls, all kinds together."""
    controls: dict[str, Interval]
    specificity: float
    strong: float
    margin: Interval | None
    """|mean d| less the controls' mean d in the same direction, with Welch's interval: what another change of this size would not do."""
    metric: str | None = None
    """What the score is, where all rows say the same; it tells what the effect's unit is."""

    @property
    def clear(self) -> bool:
        """The interval is clear of 0 and, where there are controls, stronger than theirs."""
        beyond = self.margin is None or (self.margin.low is not None and self.margin.low > 0)
        return self.directed.clear_of(0.0) and beyond


def effects_of(rows: Sequence[Intervention]) -> dict[str, Effect]:
    """The effects of all features that have rows of their own, by feature id.

    Controls that name a feature (`metadata.control_for`, else their own feature_id) speak for it; controls of features that have no other
    rows speak for all.
    """
    own: dict[str, list[Intervention]] = {}
    controls: dict[str, list[Intervention]] = {}
    for row in rows:
        if row.control is None:
            own.setdefault(row.feature_id, []).append(row)
        else:
            controls.setdefault(str(row.metadata.get("control_for", row.feature_id)), []).append(row)
    shared = [row for name, found in controls.items() if name not in own for row in found]
    return {name: effect(name, found, controls.get(name) or shared) for name, found in own.items()}


def effect(feature_id: str, rows: Sequence[Intervention], controls: Sequence[Intervention]) -> Effect:
    """One feature's effect from its own rows (at least one) and those of its controls."""
    directed = interval([row.effect for row in rows])
    sides = [abs(row.side_effect) for row in rows if row.side_effect is not None]
    side = float(np.mean(sides)) if sides else None
    by_kind: dict[str, list[float]] = {}
    for row in controls:
        by_kind.setdefault(str(row.control), []).append(row.effect)
    everything = [row.effect for row in controls]
    sizes = [abs(value) for value in everything]
    specificity = max(0.0, abs(directed.mean) - (side or 0.0))
    sign = 1.0 if directed.mean >= 0 else -1.0
    metrics = {row.metadata.get("metric") for row in rows}
    metric = metrics.pop() if len(metrics) == 1 else None
    return Effect(
        feature_id,
        directed,
        p_value([row.effect for row in rows]),
        side,
        interval(everything) if everything else None,
        {kind: interval(values) for kind, values in sorted(by_kind.items())},
        specificity,
        max(0.0, specificity - (float(np.mean(sizes)) if sizes else 0.0)),
        welch([sign * row.effect for row in rows], [sign * value for value in everything]) if everything else None,
        metric if isinstance(metric, str) else None,
    )


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """mean ± t_{n−1}·s/√n."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, None, None, len(array))
    half = _t(len(array) - 1, confidence) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Interval(mean, mean - half, mean + half, len(array))


def welch(left: Sequence[float], right: Sequence[float], confidence: float = 0.95) -> Interval:
    """mean(left) − mean(right) with Welch's interval; no ends where either has fewer than two values."""
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    mean = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2:
        return Interval(mean, None, None, len(a))
    u, v = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if u + v == 0.0:
        return Interval(mean, mean, mean, len(a))
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))
    half = _t(freedom, confidence) * math.sqrt(u + v)
    return Interval(mean, mean - half, mean + half, len(a))


def p_value(values: Sequence[float]) -> float | None:
    """Two-sided one-sample t-test of mean 0; None below two values. No spread at all: 0 away from zero, 1 at it."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return None
    spread = float(array.std(ddof=1)) / math.sqrt(len(array))
    if spread == 0.0:
        return 0.0 if array[0] != 0.0 else 1.0
    from scipy.special import stdtr

    return float(2 * stdtr(len(array) - 1, -abs(float(array.mean()) / spread)))


def _t(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))
