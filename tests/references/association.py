"""How a feature goes with a criterion, the slow and obvious way: by all pairs, dense arrays and full permutations."""

from __future__ import annotations

import itertools

import numpy as np


def auroc(x: np.ndarray, positive: np.ndarray) -> float:  # type: ignore[type-arg]
    """The share of (positive, negative) pairs that x orders rightly, ties half."""
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(x[positive], x[~positive])]
    return float(np.mean(pairs))


def z(x: np.ndarray, positive: np.ndarray) -> float:  # type: ignore[type-arg]
    """(A − ½)/sd of A over all ways to choose as many positives."""
    everyone = []
    for chosen in itertools.combinations(range(len(x)), int(positive.sum())):
        labels = np.zeros(len(x), dtype=bool)
        labels[list(chosen)] = True
        everyone.append(auroc(x, labels))
    return float((auroc(x, positive) - 0.5) / np.std(everyone))


def false_discovery(p: list[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values by their definition: min over j ranked at or above i of p_j·m/j."""
    ranked = sorted(p)
    return [min(1.0, *(ranked[j - 1] * len(p) / j for j in range(1, len(p) + 1) if ranked[j - 1] >= value)) for value in p]
