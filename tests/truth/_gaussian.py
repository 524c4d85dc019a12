"""Draws of SGLD around a quadratic loss, exactly: each direction of curvature h is an autoregression of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_BETA, LOCALIZATION = 30.0, 1000.0
CURVATURES = np.array([0.1, 0.3, 1.0, 2.0, 4.0, 0.5, 0.2, 1.5])
"""At nβ 30 and γ 1,000 localization prevails, as where susceptibilities and influences are read."""


def variances(lr: float) -> NDArray[np.float64]:
    """Of each direction, with what the step size adds: 1 / (a (1 - lr a / 4)), a = nβ h + γ."""
    a = N_BETA * CURVATURES + LOCALIZATION
    return 1 / (a * (1 - lr * a / 4))


def draws(rng: np.random.Generator, lr: float, chains: int, count: int, between: int) -> NDArray[np.float64]:
    """w (chain, draw, direction) of stationary chains, `between` steps from draw to draw."""
    a = N_BETA * CURVATURES + LOCALIZATION
    factor, scale = (1 - lr * a / 2) ** between, np.sqrt(variances(lr))
    w = np.empty((chains, count, len(a)))
    w[:, 0] = rng.normal(size=(chains, len(a)))
    for t in range(1, count):
        w[:, t] = factor * w[:, t - 1] + np.sqrt(1 - factor**2) * rng.normal(size=(chains, len(a)))
    return w * scale
