"""Whether chains agree, how many independent draws they are worth, and the running estimate with its error. Cheap enough for 1 Hz.

Split R̂: Gelman et al. (2013), BDA3 §11.4; bulk ESS: Vehtari et al. (2021), "Rank-normalization, folding, and localization"
(arXiv 1903.08008); both as arviz-stats computes them, on the mean loss of the step behind each draw.
"""

from __future__ import annotations

import importlib
import math
import warnings
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

_MIN_DRAWS = 4
"""ArviZ's own minimum: two draws in each half of a split chain."""

Trace = Float[NDArray[np.float64], "chain draw"]


class Convergence(NamedTuple):
    """Split R̂ (needs two chains) and bulk ESS in draws, over healthy chains; None where they are not defined."""

    rhat: float | None
    ess: float | None


class RunningLLC(NamedTuple):
    """The estimate from the first `draws[i]` draws of every chain, and its standard error (NaN while undefined)."""

    draws: NDArray[np.int64]
    mean: NDArray[np.float64]
    std_error: NDArray[np.float64]


def healthy_block(trace: Trace) -> Trace:
    """The rectangle of finite draws that holds most of them: chains that failed, or have barely begun, are left out."""
    counts = np.array([_leading_finite(row) for row in trace], dtype=np.int64)
    if not counts.any():
        return np.empty((0, 0))
    length = max(np.unique(counts), key=lambda n: n * (counts >= n).sum())
    return trace[counts >= length, :length]


def _leading_finite(row: NDArray[np.float64]) -> int:
    bad = np.flatnonzero(~np.isfinite(row))
    return int(bad[0]) if bad.size else int(row.size)


def convergence(trace: Trace) -> Convergence:
    """R̂ and ESS of `trace`; draws not yet made and failed chains are NaN in it. Series under 4 draws, or constant ones, give None."""
    block = healthy_block(trace)
    if block.size == 0 or block.shape[1] < _MIN_DRAWS or float(np.ptp(block)) == 0.0:
        return Convergence(None, None)
    array_stats: Any = importlib.import_module("arviz_stats.base").array_stats  # 2 s to import, so only where it is needed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rhat = float(array_stats.rhat(block, chain_axis=0, draw_axis=1, method="split")) if block.shape[0] > 1 else math.nan
        ess = float(array_stats.ess(block, chain_axis=0, draw_axis=1, method="bulk"))
    return Convergence(rhat if math.isfinite(rhat) else None, ess if math.isfinite(ess) else None)


def std_error(trace: Trace, ess: float | None) -> float | None:
    """Standard error of the mean of all draws, in the trace's units: the larger of two estimates, None when neither is defined.

    Spread of the chains' means over sqrt(chains) is right however draws correlate, but noisy with few chains; spread of draws over
    sqrt(ESS) is the reverse, and blind to chains stuck in different places.
    """
    block = healthy_block(trace)
    found = []
    if block.shape[0] > 1:
        found.append(float(block.mean(1).std(ddof=1)) / math.sqrt(block.shape[0]))
    if ess is not None and ess > 0:
        found.append(float(block.std(ddof=1)) / math.sqrt(ess))
    return max(found) if found else None


def running_llc(trace: Trace, init_loss: float, n_beta: float, points: int) -> RunningLLC:
    """nβ (mean loss so far - init_loss) at up to `points` moments, evenly spread over the draws that all healthy chains have."""
    block = healthy_block(trace)
    if block.size == 0:
        return RunningLLC(np.empty(0, np.int64), np.empty(0), np.empty(0))
    chains, n = block.shape
    draws = np.unique(np.linspace(1, n, min(points, n)).round().astype(np.int64))
    means = np.cumsum(block, axis=1)[:, draws - 1] / draws
    error = means.std(axis=0, ddof=1) / math.sqrt(chains) if chains > 1 else np.full(draws.size, np.nan)
    return RunningLLC(draws, n_beta * (means.mean(0) - init_loss), n_beta * error)


class Summary(NamedTuple):
    """What a live view shows of a run so far; None where undefined."""

    llc: float | None
    llc_std_error: float | None
    rhat: float | None
    ess: float | None


@final
class LiveDiagnostics:
    """Summaries of a growing trace. R̂ and ESS (0.3 s at 4 × 100,000 draws) are redone only after the trace has grown by 2 %."""

    def __init__(self, init_loss: float, n_beta: float) -> None:
        self._init_loss, self._n_beta = init_loss, n_beta
        self._size = (0, 0)
        self._last = Convergence(None, None)

    def update(self, trace: Trace) -> Summary:
        """The summary of `trace` as it is now."""
        block = healthy_block(trace)
        if block.size == 0:
            return Summary(None, None, None, None)
        if block.shape[0] != self._size[0] or block.shape[1] >= max(self._size[1] + 1, 1.02 * self._size[1]):
            self._last, self._size = convergence(block), (block.shape[0], block.shape[1])
        # Draws per effective draw change slowly, so the last ESS scales with the length.
        ess = None if self._last.ess is None else self._last.ess * block.shape[1] / self._size[1]
        error = std_error(block, ess)
        mean = self._n_beta * (float(block.mean()) - self._init_loss)
        return Summary(mean, None if error is None else self._n_beta * error, self._last.rhat, ess)
