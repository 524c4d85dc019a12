"""Whether chains agree, how many independent draws they are worth, and the running estimate with its error. Cheap enough for 1 Hz.

Split R̂: Gelman et al. (2013), BDA3 §11.4; bulk ESS: Vehtari et al. (2021), "Rank-normalization, folding, and localization"
(arXiv 1903.08008); both as arviz-stats computes them, on the rise of the step behind each draw: its mean loss less that at w0.
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


class MeanError(NamedTuple):
    """How far the mean of all draws may lie from what endless chains would give, in the trace's units; None where undefined.

    std_error: one standard error. half_width: of the 95 % interval, a Student t whose degrees of freedom are those of the error itself.
    """

    std_error: float | None
    half_width: float | None


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        rhat = float(_array_stats().rhat(block, chain_axis=0, draw_axis=1, method="split")) if block.shape[0] > 1 else math.nan
    return Convergence(rhat if math.isfinite(rhat) else None, _ess(block, "bulk"))


def std_error(trace: Trace, ess: float | None) -> float | None:
    """One standard error of the mean of all draws (`mean_error`), with the effective draws as they are known; None where undefined."""
    block = healthy_block(trace)
    if block.size == 0:
        return None
    candidates = [_between(block)] if block.shape[0] > 1 else []
    if ess is not None and ess > 0:
        candidates.append(float(block.std(ddof=1)) / math.sqrt(ess))
    return math.hypot(max(candidates), _common(block)) if candidates else None


def mean_error(trace: Trace) -> MeanError:
    """The error of the mean of all draws. Its square is the sum of two parts.

    What chains do each for itself: the larger of two estimates. The spread of the chains' means over sqrt(chains) is right however draws
    correlate, but noisy with few chains; the spread of draws over sqrt(ESS of the mean) is the reverse, and blind to chains that sit in
    different places. What chains that see the same batches do together: half the covariance between chains of the steps from draw to
    draw, over the number of draws; neither spread shows it.

    The error is itself known from about ESS - 1 degrees of freedom, which the interval allows for: with an ESS of 5 it is 2.8 errors wide
    to either side, not 2. `tests/truth/llc.py` measures how often it covers.
    """
    block = healthy_block(trace)
    if block.size == 0 or block.shape[1] < _MIN_DRAWS or float(np.ptp(block)) == 0.0:
        return MeanError(None, None)
    ess = _ess(block, "mean")
    error = std_error(block, ess)
    if error is None or ess is None:
        return MeanError(error, None)
    from scipy.special import stdtrit  # as slow to import as arviz-stats

    return MeanError(error, error * float(stdtrit(max(1.0, ess - 1), 0.975)))


def _between(block: Trace) -> float:
    return float(block.mean(1).std(ddof=1)) / math.sqrt(block.shape[0])


def _common(block: Trace) -> float:
    """Standard error from noise that is common to all chains and new at each draw: their batches'."""
    chains, draws = block.shape
    if chains < 2 or draws < 3:
        return 0.0
    steps = np.diff(block, axis=1)
    covariance = (chains * float(steps.mean(0).var()) - float(steps.var(axis=1).mean())) / (chains - 1)
    return math.sqrt(max(0.0, covariance) / 2 / draws)


def _ess(block: Trace, method: str) -> float | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        ess = float(_array_stats().ess(block, chain_axis=0, draw_axis=1, method=method))
    return ess if math.isfinite(ess) else None


def _array_stats() -> Any:
    return importlib.import_module("arviz_stats.base").array_stats  # 2 s to import, so only where it is needed


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
