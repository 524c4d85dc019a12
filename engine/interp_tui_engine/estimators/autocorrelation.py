"""Standard errors of means and covariances of a Markov chain's draws, which are correlated from one draw to the next.

The integrated autocorrelation time tau of a series is 1 + 2 sum_k rho_k: n draws are worth n / tau independent ones. The sum is cut by
Geyer's initial monotone sequence ("Practical Markov chain Monte Carlo", Statistical Science 7, 1992): sums of neighbouring pairs of
autocorrelations are positive and fall for a reversible chain, so where they stop doing so there is only noise left.

For a covariance of two series, Bartlett's formula gives the variance from the autocovariances of both (for Gaussian series:
var = 1/n sum_k [g_xx(k) g_yy(k) + g_xy(k) g_yx(k)]); the products' own spread and autocorrelation give it without that assumption, but
noisily. The larger of the two is used. Both are simulated against known answers in tests/truth/susceptibilities.py.

Series are (chain, draw); chains are pooled about their common mean, so chains that stay apart make the error larger.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

LEAST_DRAWS = 30.0
"""Effective draws below which an error bar covers far less than it says."""
LEAST_TIMES = 10.0
"""Autocorrelation times that each chain must last for its autocorrelation to be known."""

Series = Float[NDArray[np.float64], "chain draw"]


class MeanEstimate(NamedTuple):
    """A mean with its standard error, and the independent draws it is worth. std_error is None where it cannot be known; `why` says why."""

    value: float
    std_error: float | None
    ess: float
    why: str = ""
    freedom: float = math.inf
    """Degrees of freedom of the error: few where the draws have long tails, since their variance is then poorly known."""

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Ends of the interval by Student's t."""
        if self.std_error is None:
            return None
        from scipy.special import stdtrit

        reach = float(stdtrit(max(1.0, min(self.freedom, self.ess - 1)), 0.5 + level / 2)) * self.std_error
        return self.value - reach, self.value + reach


def autocovariance(series: Series, other: Series | None = None) -> Float[NDArray[np.float64], " lag"]:
    """Of centred series at lags 0 … draws - 1 within each chain, over all draws: (sum over chains and t of x_t y_{t+k}) / n, by FFT."""
    chains, draws = series.shape
    size = 2 ** math.ceil(math.log2(2 * draws))
    x = np.fft.rfft(series, size, axis=1)
    y = x if other is None else np.fft.rfft(other, size, axis=1)
    return np.asarray(np.fft.irfft((x.conj() * y).sum(0), size)[:draws] / (chains * draws))


def initial_sum(covariances: Float[NDArray[np.float64], " lag"]) -> float:
    """c_0 + 2 sum_k c_k, the sum over Geyer's initial monotone sequence; at least c_0."""
    pairs = covariances[: len(covariances) // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if negative.size else pairs)
    return max(float(covariances[0]), float(2 * kept.sum() - covariances[0]))


def correlation_time(series: Series) -> float:
    """tau of the pooled chains, at least 1; 1 for a series that never varies."""
    covariances = autocovariance(series - series.mean())
    return initial_sum(covariances) / float(covariances[0]) if covariances[0] > 0 else 1.0


def correlation(x: Series, y: Series) -> float:
    """Of two series over the same draws, at the same draw; 0 where either never varies."""
    a, b = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((a * a).mean() * (b * b).mean()))
    return float((a * b).mean()) / scale if scale > 0 else 0.0


def pooled_correlation_time(several: Float[NDArray[np.float64], "series chain draw"]) -> float:
    """tau of many series that are alike, from their mean autocorrelation, which is far less noisy than any one's; at least 1.

    Those that never vary are passed over; 1 where none does.
    """
    total, count = np.zeros(several.shape[2]), 0
    for series in several:
        covariances = autocovariance(series - series.mean())
        if covariances[0] > 0:
            total, count = total + covariances / covariances[0], count + 1
    return initial_sum(total / count) if count else 1.0


def too_few(chains: int, draws: int, ess: float, time: float) -> str:
    """Why there is no error bar, the end of "no error bar: …"; empty where there is one. One chain cannot tell whether another would agree.

    draws: of each chain; time: the autocorrelation time of what is averaged.
    """
    if chains < 2:
        return "one chain"
    if ess < LEAST_DRAWS:
        return f"{ess:.0f} effective draws, of {LEAST_DRAWS:.0f} at least"
    if draws < LEAST_TIMES * time:
        return f"chains of {draws} draws, {draws / time:.0f} autocorrelation times"
    return ""


def mean_estimate(series: Series) -> MeanEstimate:
    """The mean of a series and its standard error."""
    count, centred = series.size, series - series.mean()
    time = correlation_time(series)
    why = too_few(len(series), series.shape[1], count / time, time)
    error = math.sqrt(float((centred**2).mean()) * time / count)
    return MeanEstimate(float(series.mean()), None if why else error, count / time, why)


def covariance_estimate(x: Series, y: Series) -> MeanEstimate:
    """E[xy] - E[x]E[y] of two series over the same draws, and its standard error."""
    count, a, b = x.size, x - x.mean(), y - y.mean()
    products = a * b
    value = float(products.mean())
    spread = float(((products - value) ** 2).mean()) * correlation_time(products)
    plain = autocovariance(a) * autocovariance(b) + autocovariance(a, b) * autocovariance(b, a)
    if plain[0] <= 0:
        return MeanEstimate(value, None, float(count), "it never varies")
    gaussian = initial_sum(plain)
    time = gaussian / float(plain[0])
    why = too_few(len(x), x.shape[1], count / time, max(correlation_time(x), correlation_time(y)))
    # A variance estimated from m draws of kurtosis k has relative variance (k - 1)/m, as one with 2m/(k - 1) degrees of freedom has.
    kurtosis = float(((products - value) ** 4).mean() / ((products - value) ** 2).mean() ** 2)
    freedom = 2 * (count / time) / max(kurtosis - 1, 2.0)
    return MeanEstimate(value, None if why else math.sqrt(max(spread, gaussian) / count), count / time, why, freedom)
