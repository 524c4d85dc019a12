"""An interval for an AUROC from nothing but its value and how many rows of each class it was measured on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def auroc_interval(
    area: Float64[np.ndarray, " features"], positives: float, negatives: float, confidence: float = 0.95
) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, " features"]]:
    """Score interval of an AUROC (Newcombe 2006, Statistics in Medicine 25:559, method 5): the θ with (A−θ)² = z²·V(θ),

    V(θ) = θ(1−θ)/(PM) · [1 + ((P+M)/2 − 1)·((1−θ)/(2−θ) + θ/(1+θ))].

    It stays inside [0, 1] and has width even at A = 1, where DeLong's has none. NaN stays NaN. Fewer rows than there are, as fractions too,
    stand for rows that are not independent.
    """
    from scipy.special import ndtri

    z2 = float(ndtri(0.5 + confidence / 2)) ** 2
    half = (positives + negatives) / 2 - 1

    def beyond_interval(theta: Float64[np.ndarray, " features"]) -> Float64[np.ndarray, " features"]:
        bracket = 1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        excess: Float64[np.ndarray, " features"] = (area - theta) ** 2 - z2 * theta * (1 - theta) / (positives * negatives) * bracket
        return excess

    ends = []
    for outside in (np.zeros_like(area), np.ones_like(area)):
        far, near = outside.copy(), area.copy()  # excess ≥ 0 at `far`, ≤ 0 at `near`
        for _ in range(60):
            middle = (far + near) / 2
            beyond = beyond_interval(middle) > 0
            far, near = np.where(beyond, middle, far), np.where(beyond, near, middle)
        ends.append(np.where(np.isnan(area), np.nan, (far + near) / 2))
    return ends[0], ends[1]
