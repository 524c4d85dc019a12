"""Is an effect more than what other changes of its kind do? A test whose unit is the change, not the prompt.

A direction's effect is one number, its mean over prompts: thousands of prompts say precisely how large it is, and nothing of how large the
effects of directions are that mean nothing. That takes many such directions, the controls. With an effect m, controls c_1…c_K and the
mean v̄ of all K + 1 of them,

    p = (1 + #{k: |c_k − v̄| ≥ |m − v̄|}) / (K + 1),

exact where m is exchangeable with them (Phipson & Smyth 2010), so that K controls can give no p below 1/(K + 1), however far out m lies: a
tail taken from a normal law would promise more than it holds, for ablating random directions has effects of heavy tails. Below FEWEST
controls p is that of m as a further draw from a normal law with their mean and spread s (Student's t of K − 1 degrees of freedom for
(m − c̄)/(s·√(1 + 1/K))), for want of better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..numbers import as_finite

FEWEST = 20
"""Controls from which on ranks decide: 1/(20 + 1) is the largest p below 5 % that an effect beyond all of them can have."""


@dataclass(frozen=True)
class ControlTest:
    """How an effect compares with the controls of one kind. `p` and `units` are None below two controls."""

    p: float | None
    units: float | None
    """(m − c̄)/s: how many of the controls' standard deviations the effect lies from their mean."""
    mean: float
    spread: float | None
    count: int


def against_controls(effect: float, controls: Sequence[float]) -> ControlTest:
    """Compare an effect with the effects of control directions (at least one), each a mean over the same prompts."""
    values = np.asarray(controls, dtype=np.float64)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return ControlTest(None, None, mean, None, count)
    spread = float(values.std(ddof=1))
    units = (effect - mean) / spread if spread > 0 else math.copysign(math.inf, effect - mean) if effect != mean else 0.0
    if count < FEWEST:
        from scipy.special import stdtr

        p = float(2 * stdtr(count - 1, -abs(units) / math.sqrt(1 + 1 / count)))
    else:
        centre = (values.sum() + effect) / (count + 1)
        p = (1 + int((np.abs(values - centre) >= abs(effect - centre)).sum())) / (count + 1)
    return ControlTest(p, as_finite(units), mean, spread, count)
