"""How sure influences are: standard errors that know of autocorrelation, and the floor that pairs which do not move together reach.

Two independent stationary series of n draws have a sample correlation with variance T/n, T = 1 + 2 sum_k a(k) b(k) with their
autocorrelations a and b (Bartlett 1935, "Some aspects of the time-correlation problem"); n/T is the pair's effective number of draws.
With a correlation r the error is (1 - r²) sqrt(T/n), for a covariance c of series with variances u and v it is sqrt((u v + c²) T/n),
both for Gaussian series.

The floor makes no such assumption: one operand's chains are exchanged (see `exchange`), so that each trace meets others of another chain
or of another time; whatever still correlates does so by chance, or because all chains see the same batches. The
largest of all pairs, in standard errors, over 19 such exchanges is exceeded by chance in 5 % of runs. tests/truth/bif.py simulates both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from .autocorrelation import LEAST_DRAWS, LEAST_TIMES
from .exchange import SWAPS, exchanges

Observations = Float[NDArray[np.float32], "series observation"]
Pairs = Float[NDArray[np.float64], "series series"]
BLOCK = 1024
STILL = "no loss varies over the draws"


class Errors(NamedTuple):
    """Of the influence between every two series: standard error (NaN where it cannot be known) and effective draws.

    why: what forbids an error bar where all are NaN; the end of "no error bar: …".
    """

    std_error: Pairs
    ess: Pairs
    why: str

    @staticmethod
    def interval(
        value: NDArray[Any], std_error: NDArray[Any], ess: NDArray[Any], *, correlation: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ends of 95 % intervals: of correlations by Fisher's z, nearly normal with variance 1 / (ess - 3); else by Student's t."""
        from scipy.special import stdtrit

        if correlation:
            with np.errstate(invalid="ignore", divide="ignore"):
                middle, reach = np.arctanh(value), 1.96 / np.sqrt(ess - 3)
            defined = np.isfinite(std_error)
            return np.where(defined, np.tanh(middle - reach), np.nan), np.where(defined, np.tanh(middle + reach), np.nan)
        reach = std_error * stdtrit(np.maximum(ess - 1, 1), 0.975)
        return value - reach, value + reach


class Floor(NamedTuple):
    """The level in standard errors of independent series; how many of `pairs` pairs exceed it. clear: which, series by series."""

    level: float
    pairs: int
    clear_pairs: int
    clear: Bool[NDArray[np.bool_], "series series"] | None


def autocorrelations(z: Observations, runs: int) -> Float[NDArray[np.float64], "series lag"]:
    """Of every series at lags 0 …, 0 from where Geyer's initial positive sequence ends; of series that never vary, NaN."""
    draws = z.shape[1] // runs
    size = 2 ** int(np.ceil(np.log2(2 * draws)))
    rho = np.empty((len(z), draws))
    for start in range(0, len(z), BLOCK):
        part = z[start : start + BLOCK].reshape(-1, runs, draws).astype(np.float64)
        power = (np.abs(np.fft.rfft(part, size, axis=2)) ** 2).sum(axis=1)
        covariance = np.fft.irfft(power, size, axis=1)[:, :draws]
        with np.errstate(invalid="ignore", divide="ignore"):
            rho[start : start + BLOCK] = covariance / covariance[:, :1]
    even = rho[:, : draws // 2 * 2].reshape(len(z), -1, 2).sum(axis=2)
    ends = np.where((even <= 0).any(axis=1), (even <= 0).argmax(axis=1) * 2, draws)
    return np.where(np.arange(draws) < np.maximum(ends, 1)[:, None], rho, np.where(np.isnan(rho[:, :1]), np.nan, 0.0))


def times(a: Float[NDArray[np.float64], "n lag"], b: Float[NDArray[np.float64], "m lag"]) -> Float[NDArray[np.float64], "n m"]:
    """T of every pair, at least 1."""
    return np.asarray(np.maximum(2 * (a @ b.T) - 1, 1.0))  # lag 0 counts once


def errors(z: Observations, runs: int, chains: int, *, correlation: bool) -> Errors:
    """Of z zᵀ. correlation: rows have length 1 by their own standard deviation, else by a constant (covariances, averages over tokens)."""
    lags, values = autocorrelations(z, runs), (z @ z.T).astype(np.float64)
    count, draws = z.shape[1], z.shape[1] // runs
    ess = count / times(lags, lags)
    variance = np.diag(values)
    square = (1 - values**2) ** 2 if correlation else np.outer(variance, variance) + values**2
    std_error = np.sqrt(square / ess)
    if not np.isfinite(ess).any():
        return Errors(np.full_like(std_error, np.nan), ess, STILL)
    if chains < 2:
        return Errors(np.full_like(std_error, np.nan), ess, "one chain")
    longest = 2 * lags.sum(axis=1) - 1
    slow = draws < LEAST_TIMES * np.maximum.outer(longest, longest)
    std_error[(ess < LEAST_DRAWS) | slow] = np.nan
    defined = np.isfinite(ess)
    why = "" if np.isfinite(std_error).any() else _why(float(np.median(ess[defined])), draws, float(np.nanmedian(longest)))
    return Errors(std_error, ess, why)


def _why(ess: float, draws: int, longest: float) -> str:
    if ess < LEAST_DRAWS:
        return f"{ess:.0f} effective draws, of {LEAST_DRAWS:.0f} at least"
    return f"chains of {draws} draws, {draws / longest:.0f} autocorrelation times"


def floor(z: Observations, runs: int, owners: Int[NDArray[np.int64], " series"], *, keep: bool) -> Floor | None:
    """Over pairs of series of different owners (texts). keep: say of every pair whether it is clear. None where chains are too short or few
    for `SWAPS` exchanges: of fewer the largest is exceeded by chance more often than is said.

    Series that never vary are in no pair.
    """
    there = np.flatnonzero(np.isfinite(z[:, 0]) & (np.abs(z).max(axis=1) > 0))
    mine, of = z[there] / np.linalg.norm(z[there], axis=1, keepdims=True), owners[there]
    draws = z.shape[1] // runs
    ways = exchanges(runs, draws, SWAPS)
    if len(ways) < SWAPS or len(there) < 2:
        return None
    lags = autocorrelations(mine, runs)
    series = mine.reshape(len(mine), runs, draws)
    largest = [_largest(mine, way.of(series).reshape(mine.shape), lags, of) for way in ways]
    level, clear_pairs, pairs = max(largest), 0, 0
    clear = np.zeros((len(z), len(z)), dtype=bool) if keep else None
    for left, right, sizes in _blocks(mine, mine, lags, of):
        over = sizes > level
        clear_pairs, pairs = clear_pairs + int(over.sum()), pairs + int(np.isfinite(sizes).sum())
        if clear is not None:
            clear[np.ix_(there[left], there[right])] |= over
            clear[np.ix_(there[right], there[left])] |= over.T
    return Floor(level, pairs, clear_pairs, clear)


def _largest(first: Observations, second: Observations, lags: NDArray[np.float64], owners: NDArray[np.int64]) -> float:
    return max(float(np.nanmax(sizes, initial=0.0)) for _, _, sizes in _blocks(first, second, lags, owners))


def _blocks(
    first: Observations, second: Observations, lags: NDArray[np.float64], owners: NDArray[np.int64]
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """|r| in standard errors of independent series, block by block; NaN for pairs of one owner and for those already seen."""
    for i in range(0, len(first), BLOCK):
        left = slice(i, i + BLOCK)
        for j in range(i, len(first), BLOCK):
            right = slice(j, j + BLOCK)
            sizes = np.abs((first[left] @ second[right].T).astype(np.float64)) * np.sqrt(first.shape[1] / times(lags[left], lags[right]))
            skipped = owners[left, None] == owners[None, right]
            if i == j:
                skipped |= np.tri(len(sizes), dtype=bool)
            sizes[skipped] = np.nan
            yield left, right, sizes


def half_matrices(z: Observations, runs: int, *, correlation: bool) -> tuple[Pairs, Pairs]:
    """Influences from the even runs and from the odd ones; of a single run, from its first half and its second."""
    draws = z.shape[1] // runs
    series = z.reshape(len(z), runs, draws).astype(np.float64)
    parts = (series[:, ::2], series[:, 1::2]) if runs > 1 else (series[:, :, : draws // 2], series[:, :, draws // 2 :])
    return _influences(parts[0], correlation), _influences(parts[1], correlation)


def _influences(series: Float[NDArray[np.float64], "series run draw"], correlation: bool) -> Pairs:
    flat = series.reshape(len(series), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    if not correlation:
        return np.asarray(flat @ flat.T / flat.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat @ flat.T)


def agreement(first: Pairs, second: Pairs) -> float | None:
    """Pearson correlation of two matrices over their pairs; None where one of them does not vary."""
    upper = np.triu_indices(len(first), 1)
    a, b = first[upper], second[upper]
    defined = np.isfinite(a) & np.isfinite(b)
    a, b = a[defined], b[defined]
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else None
