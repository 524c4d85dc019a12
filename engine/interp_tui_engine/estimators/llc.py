"""The local learning coefficient from samples.

Lau, Murfet & Wei (2023), "Quantifying degeneracy in singular models via the learning coefficient" (arXiv 2308.12108), eq. 8:

    λ̂ = nβ (E[L(w)] - L(w0)),   E over SGLD steps after burn-in

with a choice of the rows that L(w0) is taken on. "paired" takes those of each step: λ̂ = nβ · mean_t [L_B(w_t) - L_B(w0)], B the batch of
step t, so that what batches differ by cancels. "init" takes the first batches of the run, as devinterp 2.0.1 does: the difference between
them and the batches seen, times nβ, stays in the estimate. Losses in nats per token; λ̂ is dimensionless. Unlike devinterp 2.0.1, burn-in
steps and failed chains stay out of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import RunFailed, UserError
from .diagnostics import convergence, mean_error

Baseline = Literal["paired", "init"]
ANCHOR = "init_loss_micro"
_READ_BYTES = 64 << 20
_HINT = "Give the samples.zarr of a sampling run."


def compute_llc(samples: xr.DataTree, baseline: Baseline | None = None, *, include_burnin: bool = False) -> xr.Dataset:
    """The LLC of a store that `sample` wrote, here or in devinterp.

    baseline: what sampled losses are compared with (above); what the store was sampled for when None. A store without losses at w0 of the
    rows it saw, devinterp's or an older one of ours, is always compared with `init_loss`. include_burnin: average over the steps of
    burn-in too, as devinterp does: the chains are still on their way then, so that the mean is biased towards L(w0).

    Returns llc_mean, llc_std (over chains, ddof 0), llc_std_error, llc_low and llc_high (its 95 % interval), llc_per_chain (chain; NaN for
    failed ones), llc_scalar (all healthy steps pooled), loss_trace and rise_trace (chain, step; with burn-in; the latter less the
    baseline), init_loss, rhat, ess (NaN where undefined). Attrs: healthy_chains and failed_chains list chain numbers, baseline says which
    was used. The error is that of the mean over draws (`diagnostics.mean_error`); with "init" it holds, besides, an estimate of what the
    first batches differ by from those seen.

    Raises UserError when the tree holds no samples, RunFailed when no chain is healthy.
    """
    ds = samples.dataset
    sampler = _sampler(ds)
    n_beta, burnin = float(sampler["n_beta"]), 0 if include_burnin else int(sampler.get("num_burnin_steps", 0))
    trace = _means(ds["sampling_loss_micro"])
    failed = {int(c) for c in ds.attrs.get("failed_chains", {})}
    healthy = [c for c in range(trace.shape[0]) if c not in failed and np.isfinite(trace[c, burnin:]).all()]
    if not healthy:
        raise RunFailed(
            "no chain is healthy", "All went non-finite or are unfinished; a smaller lr or a larger localization keeps chains near w0."
        )
    init_loss = float(ds["init_loss"].values[healthy].mean(dtype=np.float64))
    used = baseline_of(ds, baseline)
    rise = trace - (np.broadcast_to(ds[ANCHOR].values, trace.shape) if used == "paired" else init_loss)
    after = rise[healthy, burnin:]
    per_chain = np.full(trace.shape[0], np.nan)
    per_chain[healthy] = n_beta * after.mean(1)
    draws = after[:, :: int(sampler.get("num_steps_bw_draws", 1))]
    rhat, ess = convergence(draws)
    error, half_width = mean_error(draws)
    if used == "init" and error is not None and half_width is not None:
        offset = _offset_error(ds, sampler, draws)
        half_width, error = math.hypot(half_width, 1.96 * offset), math.hypot(error, offset)
    mean = float(per_chain[healthy].mean())
    return xr.Dataset(
        {
            "llc_mean": mean,
            "llc_std": per_chain[healthy].std(),
            "llc_std_error": n_beta * _nan(error),
            "llc_low": mean - n_beta * _nan(half_width),
            "llc_high": mean + n_beta * _nan(half_width),
            "llc_per_chain": ("chain", per_chain),
            "llc_scalar": n_beta * after.mean(),
            "loss_trace": (("chain", "step"), trace),
            "rise_trace": (("chain", "step"), rise),
            "init_loss": init_loss,
            "rhat": _nan(rhat),
            "ess": _nan(ess),
        },
        attrs={
            "healthy_chains": healthy,
            "failed_chains": [c for c in range(trace.shape[0]) if c not in healthy],
            "baseline": used,
        },
    )


def baseline_of(samples: xr.Dataset, wanted: Baseline | None = None) -> Baseline:
    """What the losses of a store can be compared with: as wanted, as it was sampled for, or "init" where it holds nothing else.

    Raises UserError for another word.
    """
    if wanted not in (None, "paired", "init"):
        raise UserError(f"baseline = {wanted!r}", "'paired' or 'init'")
    if ANCHOR not in samples:
        return "init"
    chosen = wanted or samples.attrs["metadata"]["config"]["sampler"].get("baseline", "paired")
    return "init" if chosen == "init" else "paired"


def acceptance_of(samples: xr.Dataset, chains: Sequence[int]) -> tuple[float | None, float | None]:
    """Mean probability that a Metropolis test would accept a step of these chains, and its standard error over the looks at it.

    Looks during burn-in are left out where there are others. None where there was no look, or one only.
    """
    if "acceptance" not in samples or not chains:
        return None, None
    looks = samples["acceptance"].values[list(chains)].astype(np.float64)
    sampler = _sampler(samples)
    after = np.arange(looks.shape[1]) * int(sampler["acceptance_every"]) >= int(sampler["num_burnin_steps"])
    seen = looks[:, after if after.any() else slice(None)]
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        return None, None
    return float(seen.mean()), float(seen.std(ddof=1)) / math.sqrt(seen.size) if seen.size > 1 else None


def _offset_error(ds: xr.Dataset, sampler: Mapping[str, Any], draws: NDArray[np.float64]) -> float:
    """Standard error of (mean loss of the batches seen) - (mean loss of the first ones), which no spread of chains shows.

    Chains that see the same batches differ from draw to draw by their batches alone: the variance of a batch's mean loss is half the mean
    square of the steps of the chains' mean. Batches that are seen in both means make it an upper bound.
    """
    if draws.shape[1] < 3:
        return 0.0
    batches = max(1, int(sampler.get("num_init_loss_batches", 1)))
    variance = float(np.square(np.diff(draws.mean(0))).mean()) / 2
    return math.sqrt(variance * (1 / batches + 1 / draws.shape[1]))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _sampler(ds: Any) -> Mapping[str, Any]:
    try:
        sampler: Mapping[str, Any] = ds.attrs["metadata"]["config"]["sampler"]
    except KeyError:
        raise UserError("the tree holds no samples: attribute metadata.config.sampler is missing", _HINT) from None
    for name in ("sampling_loss_micro", "init_loss"):
        if name not in ds:
            raise UserError(f"the tree holds no samples: array {name} is missing", _HINT)
    return sampler


def _means(losses: xr.DataArray) -> NDArray[np.float64]:
    """Mean over everything but (chain, time), read in stretches: a long run does not fit in memory."""
    chains, length = losses.shape[:2]
    stretch = max(1, _READ_BYTES // (4 * int(np.prod(losses.shape[2:], dtype=np.int64))))
    means = np.empty((chains, length))
    axes = tuple(range(1, losses.ndim - 1))
    for chain in range(chains):
        for start in range(0, length, stretch):
            part = losses[chain, start : start + stretch].values
            means[chain, start : start + stretch] = part.mean(axis=axes, dtype=np.float64)
    return means
