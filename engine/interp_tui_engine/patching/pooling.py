"""Traces of many pairs as one: positions by their role in the prompt, means over pairs, and intervals of them over pairs."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROLES = ("first changed", "between", "last changed", "after", "last token")
Floats = NDArray[np.floating]
Prompts = Sequence[tuple[Hashable, Hashable]]
"""By pair: its clean and its corrupt prompt."""


class Pooled(NamedTuple):
    """Mean recovery over pairs, and the ends of its 95 % interval; shape of one pair's grid, NaN where no pair has a value."""

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


def pool(
    gains: Floats, effects: Floats, *, resamples: int, seed: int, prompts: Sequence[tuple[Hashable, Hashable]] | None = None
) -> Pooled:
    """Mean recovery of each cell: Σ gains / Σ effects over the pairs that have the cell, with Student's interval over pairs.

    gains: (pairs, cells) patched − corrupt, NaN where a pair has no such cell. effects: (pairs,) clean − corrupt. A ratio of sums rather
    than a mean of ratios, so that a pair with next to no effect of its own does not drown the others. The variance is that of resampled
    pairs, times n / (n − 1), for percentiles of few pairs are too narrow; where pairs share `prompts`, it is that of resampled prompts if
    larger (see `circuits.ratio`). No interval where one pair alone has the cell.
    """
    pairs = len(effects)
    there = np.isfinite(gains)
    filled = np.where(there, gains, 0.0)
    mean = _ratio(np.ones((1, pairs)), filled, effects, there)[0]
    if pairs == 1:
        return Pooled(mean, mean, mean)
    from scipy.special import stdtrit

    rng, count = np.random.default_rng(seed), there.sum(0)

    def variance(weights: Floats, units: int) -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # cells before the corruption, or of roles no pair has, are NaN throughout
            found: Floats = np.nanvar(_ratio(weights, filled, effects, there), axis=0) * (units / (units - 1))
        return found

    spread = variance(_drawn(rng, pairs, resamples), pairs)
    names = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompt for pair in prompts or () for prompt in pair))}
    if prompts and len(names) < 2 * pairs:
        drawn = _drawn(rng, len(names), resamples)
        one, other = (drawn[:, [names[pair[end]] for pair in prompts]] for end in (0, 1))
        # either prompt brings half of its pairs: four times the variance is theirs together, with what a pair has of its own twice
        spread = np.maximum(spread, 4 * variance((one + other) / 2, len(names)) - spread)
        count = np.minimum(count, len(names))
    away = np.where(count > 1, stdtrit(np.maximum(count - 1, 1), 0.975) * np.sqrt(spread), np.nan)
    return Pooled(mean, mean - away, mean + away)


def _drawn(rng: np.random.Generator, count: int, resamples: int) -> Floats:
    """How often each of `count` is drawn, in each resample: (resamples, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


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
