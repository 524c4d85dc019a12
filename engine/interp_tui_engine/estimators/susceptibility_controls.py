"""What susceptibilities would look like were there nothing to find, and whether two samplings of the same part agree.

`token_floor`: covariances with phi of another chain, or of another time where there is only one, are noise by construction; the largest of
them over all tokens, in standard errors, is what the largest of the real ones must exceed. Chains see the same batches unless told
otherwise, so what the order of batches alone does to all chains alike is in the floor.

`shuffled`: the mean over a data set's tokens, beside means over as many rows drawn at random from all data sets: whether it is this kind
of data that a part responds to. Whole rows are drawn, since tokens of a row respond alike.

`halves`: covariances of either half of the chains (of the draws, where there is one chain): two independent samplings, each half as long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray

from .autocorrelation import Series, correlation_time
from .observed import draw_means, healthy_chains, losses_of, pieces
from .susceptibilities import PerToken

SWAPS = 19
"""Of which the largest is exceeded by one more of its kind once in 20 tries."""
SHUFFLES = 400
SEED = 0


class Control(NamedTuple):
    """A mean over all data's rows, and the interval that holds 95 % of the means over as many rows drawn at random."""

    mean: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high


class Halves(NamedTuple):
    """The covariance of every token by observable, from one half of the draws and from the other."""

    first: dict[str, PerToken]
    second: dict[str, PerToken]


def exchanged(chains: int, draws: int, count: int, seed: int = SEED) -> list[tuple[int, int]]:
    """`count` ways (by, shift) to set chains against others `by` places on, their draws `shift` on, around the end; never (0, 0).

    First the other chains as they are, then shifted by a random share of the chain's length: a quarter at least where it is the same chain.
    """
    rng = np.random.default_rng(seed)
    ways = [(by, 0) for by in range(1, chains)][:count]
    while len(ways) < count and draws > 1:
        by = int(rng.integers(1, chains)) if chains > 1 else 0
        least = 1 if by else max(1, draws // 4)
        ways.append((by, int(rng.integers(least, max(least + 1, draws - least + 1)))))
    return ways


def exchange(series: Float[NDArray[np.float64], "chain draw *rest"], way: tuple[int, int]) -> NDArray[np.float64]:
    """Chains and draws exchanged as `exchanged` says."""
    return np.asarray(np.roll(np.roll(series, way[0], axis=0), way[1], axis=1))


def token_floor(restricted: xr.Dataset, sampling: str, probes: Sequence[str]) -> tuple[float, dict[str, PerToken]]:
    """The floor in standard errors, and each token's covariance in standard errors of a token that does not covary.

    The error is that of independent series with the autocorrelation of phi's square: sqrt(var phi var(L - l) tau / n).
    """
    chains = healthy_chains(restricted, sorted({sampling, *probes}))
    trace = draw_means(losses_of(restricted, sampling), chains)
    f = trace - trace.mean()
    if not f.any():
        return math.nan, {obs: np.full(losses_of(restricted, obs).shape[2:], np.nan) for obs in probes}
    ways = exchanged(len(chains), trace.shape[1], SWAPS)
    with_others = np.stack([f, *(exchange(f, way) for way in ways)])
    scale = math.sqrt(float(f.var()) * correlation_time(f * f) / trace.size)
    largest, found = np.zeros(len(ways)), {}
    for obs in probes:
        products, spread = _with_difference(losses_of(restricted, obs), chains, f, with_others)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = products / (scale * np.sqrt(spread))
        errors = np.where(spread > 0, errors, np.nan)
        found[obs] = errors[0]
        if np.isfinite(errors[1:]).any():
            largest = np.fmax(largest, np.nanmax(np.abs(errors[1:]), axis=(1, 2)))
    return float(largest.max()), found


def _with_difference(
    losses: xr.DataArray, chains: Sequence[int], f: Series, weights: Float[NDArray[np.float64], "way chain draw"]
) -> tuple[Float[NDArray[np.float64], "way row position"], PerToken]:
    """Means over draws of each weight times (L - l), and the variance of (L - l), by token; the weights' own means are zero."""
    products = np.zeros((len(weights), *losses.shape[2:]))
    total, square = np.zeros(losses.shape[2:]), np.zeros(losses.shape[2:])
    first: PerToken | None = None
    for chain, start, values in pieces(losses, chains):
        part, here = values.astype(np.float64), slice(start, start + values.shape[0])
        first = part[0].copy() if first is None else first
        part = f[chain, here, None, None] - (part - first)
        products += np.tensordot(weights[:, chain, here], part, axes=1)
        total += part.sum(0)
        square += (part * part).sum(0)
    return products / f.size, np.maximum(square / f.size - (total / f.size) ** 2, 0.0)


def halves(restricted: xr.Dataset, sampling: str, probes: Sequence[str]) -> Halves:
    """Covariances from the even chains and from the odd ones; of a single chain, from its first half and its second."""
    chains = healthy_chains(restricted, sorted({sampling, *probes}))
    trace = draw_means(losses_of(restricted, sampling), chains)
    one = np.zeros(trace.shape, dtype=bool)
    if len(chains) > 1:
        one[::2] = True
    else:
        one[:, : trace.shape[1] // 2] = True
    weights = [_centred(trace, mask) for mask in (one, ~one)]
    found = Halves({}, {})
    for obs in probes:
        products, _ = _with_difference(losses_of(restricted, obs), chains, trace - trace.mean(), np.stack(weights))
        found.first[obs], found.second[obs] = products[0], products[1]
    return found


def _centred(trace: Series, mask: NDArray[np.bool_]) -> Series:
    """The trace less its mean over the masked draws, scaled so that a mean over all draws is one over these; 0 elsewhere."""
    count = int(mask.sum())
    return np.where(mask, (trace - trace[mask].mean()) * trace.size / count, 0.0) if count else np.zeros_like(trace)


def shuffled(values: Mapping[str, PerToken], seed: int = SEED) -> dict[str, Control | None]:
    """For each observable, means over as many rows drawn from those of all observables; None where there is no other data to mix with."""
    rows = {obs: found.mean(axis=1) for obs, found in values.items()}
    every = np.concatenate(list(rows.values()))
    if len(rows) < 2 or not np.isfinite(every).all():
        return dict.fromkeys(rows)
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(len(every)), (SHUFFLES, 1)), axis=1)
    controls: dict[str, Control | None] = {}
    for obs, mine in rows.items():
        means = every[orders[:, : len(mine)]].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        controls[obs] = Control(float(every.mean()), float(low), float(high))
    return controls


def agreement(one: Mapping[str, PerToken], two: Mapping[str, PerToken]) -> float | None:
    """Pearson correlation over all tokens; None where one of them does not vary."""
    a, b = (np.concatenate([values[obs].ravel() for obs in sorted(values)]) for values in (one, two))
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else None


def of_full_length(half: float | None) -> float | None:
    """The agreement of two samplings as long as the whole, from that of two halves (Spearman-Brown); None where halves do not agree."""
    return None if half is None else 2 * half / (1 + half) if half > 0 else half
