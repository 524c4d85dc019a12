"""What susceptibilities would look like were there nothing to find, and whether two samplings of the same part agree.

`token_floor`: covariances of losses with phi of another chain, or of another time where there is only one, are noise by construction; the
largest of them over all tokens, in standard errors, is what the largest of the real ones must exceed. Chains see the same batches unless
told otherwise, so what the order of batches alone does to all chains alike is in the floor.

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
from .exchange import SEED, SWAPS, exchanges
from .observed import draw_means, healthy_chains, losses_of, pieces
from .susceptibilities import PerToken

SHUFFLES = 400


class Control(NamedTuple):
    """A mean over all data's rows, and the interval that holds 95 % of the means over as many rows drawn at random."""

    mean: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside the interval."""
        return not self.low <= value <= self.high


class Halves(NamedTuple):
    """The covariance of every token by observable, from one half of the draws and from the other."""

    first: dict[str, PerToken]
    second: dict[str, PerToken]


def token_floor(restricted: xr.Dataset, sampling: str, probes: Sequence[str]) -> tuple[float, dict[str, PerToken]]:
    """The floor in standard errors, and Cov(phi, l) of each token in standard errors of a token whose loss does not move with phi.

    Of l alone: chi is Cov(phi, L - l), and a token that never moves has var phi of it, which says nothing of the token. The error is that
    of independent series with the autocorrelation of phi's square: sqrt(var phi var l tau / n). NaN for tokens that never vary; for all,
    and the floor, where chains are too short or few for `SWAPS` exchanges.
    """
    chains = healthy_chains(restricted, sorted({sampling, *probes}))
    trace = draw_means(losses_of(restricted, sampling), chains)
    f, ways = trace - trace.mean(), exchanges(len(chains), trace.shape[1], SWAPS)
    if not f.any() or len(ways) < SWAPS:
        return math.nan, {obs: np.full(losses_of(restricted, obs).shape[2:], np.nan) for obs in probes}
    weights = np.stack([f, *(way.of(f) for way in ways)])
    scale = math.sqrt(float(f.var()) * correlation_time(f * f) / trace.size)
    largest, by_obs = np.zeros(len(ways)), {}
    for obs in probes:
        products, spread = _weighted(losses_of(restricted, obs), chains, weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.where(spread > 0, products / (scale * np.sqrt(spread)), np.nan)
        by_obs[obs] = errors[0]
        largest = np.fmax(largest, np.nanmax(np.abs(errors[1:]), axis=(1, 2), initial=0.0))
    return float(largest.max()), by_obs


def _weighted(
    losses: xr.DataArray, chains: Sequence[int], weights: Float[NDArray[np.float64], "way chain draw"]
) -> tuple[Float[NDArray[np.float64], "way row position"], PerToken]:
    """Means over draws of each weight times l, and the variance of l, by token; the weights' own means are zero."""
    products, count = np.zeros((len(weights), *losses.shape[2:])), weights[0].size
    total, square = np.zeros(losses.shape[2:]), np.zeros(losses.shape[2:])
    first: PerToken | None = None
    for chain, start, values in pieces(losses, chains):
        part = values.astype(np.float64)
        first = part[0].copy() if first is None else first
        part -= first  # what is left varies about zero, so that squares keep their digits
        products += np.tensordot(weights[:, chain, start : start + values.shape[0]], part, axes=1)
        total += part.sum(0)
        square += (part * part).sum(0)
    return products / count, np.maximum(square / count - (total / count) ** 2, 0.0)


def halves(restricted: xr.Dataset, sampling: str, probes: Sequence[str]) -> Halves:
    """Cov(phi, L - l) from the even chains and from the odd ones; of a single chain, from its first half and its second."""
    chains = healthy_chains(restricted, sorted({sampling, *probes}))
    trace = draw_means(losses_of(restricted, sampling), chains)
    half = np.zeros(trace.shape, dtype=bool)
    if len(chains) > 1:
        half[::2] = True
    else:
        half[:, : trace.shape[1] // 2] = True
    weights = [_centred(trace, mask) for mask in (half, ~half)]
    both = Halves({}, {})
    for obs in probes:
        products, _ = _weighted(losses_of(restricted, obs), chains, np.stack(weights))
        both.first[obs], both.second[obs] = (float((w * trace).mean()) - p for w, p in zip(weights, products, strict=True))
    return both


def _centred(trace: Series, mask: NDArray[np.bool_]) -> Series:
    """The trace less its mean over the masked draws, scaled so that a mean over all draws is one over these; 0 elsewhere."""
    count = int(mask.sum())
    return np.where(mask, (trace - trace[mask].mean()) * trace.size / count, 0.0) if count else np.zeros_like(trace)


def shuffled(values: Mapping[str, PerToken], seed: int = SEED) -> dict[str, Control | None]:
    """For each observable, means over as many rows drawn from those of all observables; None where there is no other data to mix with."""
    rows = {obs: losses.mean(axis=1) for obs, losses in values.items()}
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


def agreement(first: Mapping[str, PerToken], second: Mapping[str, PerToken]) -> float | None:
    """Pearson correlation over all tokens; None where one of them does not vary."""
    a, b = (np.concatenate([values[obs].ravel() for obs in sorted(values)]) for values in (first, second))
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else None


def of_full_length(half: float | None) -> float | None:
    """The agreement of two samplings as long as the whole, from that of two halves (Spearman-Brown); None where halves do not agree."""
    return None if half is None else 2 * half / (1 + half) if half > 0 else half
