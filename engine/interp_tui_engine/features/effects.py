"""What interventions on a feature add up to: its effect with a Student-t interval, its side effects, and both beside its controls.

d = base − changed for verbs that take away, changed − base for verbs that put in
criterion = |mean d|      side = mean |side_effect|      specificity = max(0, |mean d| − side)
strong = max(0, specificity − mean |d_control|)

The interval is over prompts: how large the effect of this one change is on others like them. Whether another change would do as much is
asked of the controls, each of which counts once, as its mean over prompts (control_test.py), and of each kind of control apart: p is the
largest of theirs, so that the effect stands out from every kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .control_test import ControlTest, against_controls
from .interventions import Intervention

ALPHA = 0.05
UNCHANGED = ("placebo",)
"""Kinds of control that change nothing: they show that nothing comes of nothing, which no effect can fail to differ from."""


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
    """That a change of the controls' kinds has an effect so far from theirs: the largest p over kinds; None below two of a kind."""
    side: float | None
    control: Interval | None
    """Effects of the controls, all kinds together: over directions, of which each is a mean over prompts."""
    controls: dict[str, Interval]
    specificity: float
    strong: float
    test: ControlTest | None
    """The comparison that p is of."""
    metric: str | None = None
    """What the score is, where all rows say the same; it tells what the effect's unit is."""

    @property
    def beyond(self) -> bool:
        """Whether the effect is larger than its controls' in its own direction, not only different."""
        sign = 1.0 if self.directed.mean >= 0 else -1.0
        return self.test is not None and sign * (self.directed.mean - self.test.mean) > 0

    @property
    def clear(self) -> bool:
        """The interval over prompts is clear of 0, and the effect stands out from every kind of control (p ≤ 5 %)."""
        return self.directed.clear_of(0.0) and self.beyond and self.p is not None and self.p <= ALPHA


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
    shared = [row for name, rows_of_one in controls.items() if name not in own for row in rows_of_one]
    return {name: effect(name, rows_of_one, controls.get(name) or shared) for name, rows_of_one in own.items()}


def effect(feature_id: str, rows: Sequence[Intervention], controls: Sequence[Intervention]) -> Effect:
    """One feature's effect from its own rows (at least one) and those of its controls."""
    directed = interval([row.effect for row in rows])
    sides = [abs(row.side_effect) for row in rows if row.side_effect is not None]
    side = float(np.mean(sides)) if sides else None
    by_kind = directions_of(controls)
    everything = [value for values in by_kind.values() for value in values]
    sizes = [abs(row.effect) for row in controls]
    specificity = max(0.0, abs(directed.mean) - (side or 0.0))
    metrics = {row.metadata.get("metric") for row in rows}
    metric = metrics.pop() if len(metrics) == 1 else None
    test = strictest([against_controls(directed.mean, values) for kind, values in by_kind.items() if kind not in UNCHANGED])
    return Effect(
        feature_id,
        directed,
        test.p if test is not None else None,
        side,
        interval(everything) if everything else None,
        {kind: interval(values) for kind, values in sorted(by_kind.items())},
        specificity,
        max(0.0, specificity - (float(np.mean(sizes)) if sizes else 0.0)),
        test,
        metric if isinstance(metric, str) else None,
    )


def directions_of(controls: Sequence[Intervention]) -> dict[str, list[float]]:
    """The mean effect of each control direction, by kind.

    What tells directions of a kind apart is what was changed: `metadata.changed` and `draw` in our own rows, the feature in any. As the
    feature's own, a control's effects by several strengths are averaged.
    """
    values: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for row in controls:
        metadata = row.metadata
        key = (row.feature_id, str(metadata.get("changed", "")), str(metadata.get("draw", "")))
        values.setdefault(str(row.control), {}).setdefault(key, []).append(row.effect)
    return {kind: [float(np.mean(effects)) for effects in by_key.values()] for kind, by_key in values.items()}


def strictest(tests: Sequence[ControlTest]) -> ControlTest | None:
    """The comparison that speaks most for chance: the largest p, of equal ones the fewest units. None where no kind has two controls."""
    tested = [test for test in tests if test.p is not None]
    return max(tested, key=lambda test: (test.p, -abs(math.inf if test.units is None else test.units)), default=None)


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """mean ± t_{n−1}·s/√n."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, None, None, len(array))
    half = _t(len(array) - 1, confidence) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Interval(mean, mean - half, mean + half, len(array))


def _t(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))
