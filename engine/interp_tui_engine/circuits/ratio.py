"""Shares of a behaviour over pairs of prompts, with their intervals; and the largest of many shares, measured where it was not chosen.

    share = Σ gain / Σ reach      over pairs; its standard error by linearisation, √(n/(n−1) Σ (gain − share·reach)²) / |Σ reach|

with Student's t of n − 1 degrees of freedom (Cochran, Sampling Techniques, 6.3): a ratio of sums, so that a pair with next to no reach of
its own does not drown the others.

Pairs that share a prompt are no evidence of their own: what is peculiar to "The capital of France is" is in all its pairs. Where prompts
recur, the variance is the larger of the above and

    jackknife over prompts (each left out with all its pairs) − jackknife over pairs

for the first counts what a pair has of its own twice, once with either prompt, and what is shared once (cf. Aronow, Samii & Assenova 2015,
Political Analysis 23:564); degrees of freedom are those of the fewer, pairs or prompts. Simulated coverage: tests/truth/pairs.py.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..uncertainty import Uncertainty

Floats = NDArray[np.floating]
Prompts = Sequence[tuple[Hashable, Hashable]]
"""By pair: its clean and its corrupt prompt, by any names that are equal where the prompts are."""
LEVEL = 0.95


class Ratio(NamedTuple):
    """A share, and the ends of its 95 % interval over pairs; none of one pair."""

    value: float
    std_error: float | None
    low: float | None
    high: float | None
    in_all: bool = False
    """Whether one prompt is in all pairs: the interval takes it as given."""

    def clear_of(self, control: float, otherwise: bool | None) -> bool | None:
        """`otherwise`, unless the interval over pairs holds the control: then the share is not clear of it, whatever else is known."""
        held = self.low is not None and self.high is not None and self.low <= control <= self.high
        return False if held else otherwise

    def uncertainty(self, over: str, *, control: float | None = None, clear: bool | None = None, note: str = "") -> Uncertainty:
        """Its error bar, with what else is known of it."""
        if self.std_error is None:
            return Uncertainty(control=control, clear=clear, note=note or "one pair")
        over = f"{over}, one prompt in all of them" if self.in_all else over
        return Uncertainty(over, self.std_error, self.low, self.high, LEVEL, control, clear, note)


def share_of(gains: Floats, reach: Floats, prompts: Prompts | None = None) -> Ratio:
    """The share of a reach (pairs,) that gains (pairs,) make up; pairs are independent where `prompts` are not given."""
    from scipy.special import stdtrit

    count, whole = len(reach), float(reach.sum())
    value = float(gains.sum()) / whole if whole else math.nan
    if count < 2 or not math.isfinite(value):
        return Ratio(value, None, None, None)
    error = math.sqrt(count / (count - 1) * float(np.square(gains - value * reach).sum())) / abs(whole)
    names = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompt for pair in prompts or () for prompt in pair))}
    in_all = False
    if len(names) < 2 * count and prompts:
        at = np.array([[names[prompt] for prompt in pair] for pair in prompts])
        in_all = bool(np.bincount(at.ravel()).max() == count)
        error, count = max(error, _shared_error(gains, reach, at)), min(count, len(names))
    away = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    return Ratio(value, error, value - away, value + away, in_all)


def _shared_error(gains: Floats, reach: Floats, at: NDArray[np.integer]) -> float:
    """The standard error that prompts in several pairs give, by the two jackknives; `at` (pairs, 2) numbers each pair's prompts."""
    ends = [(values.sum(), np.bincount(at.ravel(), np.repeat(values, 2))) for values in (gains, reach)]
    without_prompt = [whole - own for whole, own in ends]
    without_pair = [values.sum() - values for values in (gains, reach)]
    return math.sqrt(max(0.0, _jackknife(*without_prompt) - _jackknife(*without_pair)))


def _jackknife(gains: Floats, reach: Floats) -> float:
    """The variance of a share, from sums that each leave something out; those that leave nothing are passed over."""
    some = np.abs(reach) > 1e-9 * np.abs(reach).max()
    shares = gains[some] / reach[some]
    return float((len(shares) - 1) / len(shares) * np.square(shares - shares.mean()).sum()) if len(shares) else 0.0


class Chosen(NamedTuple):
    """The largest of many shares, chosen on one half of the pairs and measured on the other, and the other way round."""

    share: Ratio
    cells: tuple[int, int]
    """What either half chose."""


def halves(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Pairs dealt out to two halves at random, each in its order."""
    order = np.random.default_rng([seed, count]).permutation(count)
    first, second = (sorted(part.tolist()) for part in (order[: count // 2], order[count // 2 :]))
    return first, second


def largest(gains: Floats, reach: Floats, seed: int, *, signed: bool, prompts: Prompts | None = None) -> Chosen | None:
    """The largest share of many, as it is on the pairs that did not choose it; None where there is but one pair.

    gains: (pairs, cells), NaN where a pair has no such cell. The largest by size, or, where `signed`, the most positive.
    """
    if len(reach) < 2:
        return None
    gains = np.where(np.isfinite(gains), gains, 0.0)
    parts = halves(len(reach), seed)
    measured = np.empty(len(reach))
    chosen = []
    for own, other in (parts, parts[::-1]):
        shares = gains[own].sum(0) / reach[own].sum()
        chosen.append(int(np.argmax(shares if signed else np.abs(shares))))
        measured[other] = gains[other, chosen[-1]]
    return Chosen(share_of(measured, reach, prompts), (chosen[0], chosen[1]))


def of_correlation(r: float | None, count: int, over: str) -> Uncertainty:
    """The interval of Pearson's r by Fisher's z, 1/√(n − 3) either way."""
    from scipy.special import ndtri

    if r is None or count < 4:
        return Uncertainty(note="fewer than four parts" if count < 4 else "one of the columns does not vary")
    z = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r)))
    away = float(ndtri((1 + LEVEL) / 2)) / math.sqrt(count - 3)
    return Uncertainty(over, None, math.tanh(z - away), math.tanh(z + away), LEVEL)
