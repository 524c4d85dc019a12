"""Traces of many pairs as one: positions by their role in the prompt, means over pairs, and bootstrap intervals of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROLES = ("first changed", "between", "last changed", "after", "last token")
Floats = NDArray[np.floating]


class Pooled(NamedTuple):
    """Mean recovery over pairs, and the ends of its 95 % bootstrap interval; shape of one pair's grid, NaN where no pair has a value."""

    mean: Floats
    low: Floats
    high: Floats


def role(position: int, changed_first: int, changed_last: int, last: int) -> str:
    """What a position is to its prompt: prompts of different lengths share roles, not positions."""
    if position == last:
        return "last token"
    if position == changed_first:
        return "first changed"
    if position == changed_last:
        return "last changed"
    return "between" if position < changed_last else "after"


def pool(gains: Floats, effects: Floats, *, resamples: int, seed: int) -> Pooled:
    """Mean recovery of each cell: Σ gains / Σ effects over the pairs that have the cell, resampled over pairs.

    gains: (pairs, cells) patched − corrupt, NaN where a pair has no such cell. effects: (pairs,) clean − corrupt. A ratio of sums rather
    than a mean of ratios, so that a pair with next to no effect of its own does not drown the others.
    """
    pairs = len(effects)
    there = np.isfinite(gains)
    filled = np.where(there, gains, 0.0)
    mean = _ratio(np.ones((1, pairs)), filled, effects, there)[0]
    if pairs == 1:
        return Pooled(mean, mean, mean)
    draws = np.random.default_rng(seed).multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples).astype(float)
    spread = _ratio(draws, filled, effects, there)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cells before the corruption, or of roles no pair has, are NaN throughout
        low, high = np.nanpercentile(spread, [2.5, 97.5], axis=0)
    return Pooled(mean, low, high)


def by_role(values: Floats, roles: Sequence[Sequence[str]]) -> Floats:
    """(pairs, ..., positions) averaged over the positions of each role: (pairs, ..., len(ROLES)), NaN where a prompt has none."""
    means = np.full((*values.shape[:-1], len(ROLES)), np.nan)
    for pair, named in enumerate(roles):
        for index, name in enumerate(ROLES):
            places = [place for place, this in enumerate(named) if this == name]
            if places:
                means[pair, ..., index] = values[pair][..., places].mean(-1)
    return means


def _ratio(weights: Floats, gains: Floats, effects: Floats, there: NDArray[np.bool_]) -> Floats:
    """(resamples, cells) of Σ w gain / Σ w effect over the pairs that have the cell."""
    below = weights @ (effects[:, None] * there)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(below) > 0, (weights @ gains) / below, np.nan)
