"""The local learning coefficient from samples.

Lau, Murfet & Wei (2023), "Quantifying degeneracy in singular models via the learning coefficient" (arXiv 2308.12108), eq. 8:

    λ̂ = nβ (E[L(w)] - L(w0)),   E over SGLD steps after burn-in

Losses in nats per token; λ̂ is dimensionless. Unlike devinterp 2.0.1, burn-in steps and failed chains stay out of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import RunFailed, UserError
from .diagnostics import convergence, std_error

_READ_BYTES = 64 << 20
_HINT = "Give the samples.zarr of a sampling run."


def compute_llc(samples: xr.DataTree) -> xr.Dataset:
    """The LLC of a store that `sample` wrote, here or in devinterp.

    Returns llc_mean, llc_std (over chains, ddof 0), llc_std_error, llc_per_chain (chain; NaN for failed ones), llc_scalar (all healthy
    steps pooled), loss_trace (chain, step; with burn-in), init_loss, rhat, ess (NaN where undefined); attrs healthy_chains and
    failed_chains list chain numbers. llc_std_error is Monte-Carlo error only (see `diagnostics.std_error`).

    Raises UserError when the tree holds no samples, RunFailed when no chain is healthy.
    """
    ds = samples.dataset
    sampler = _sampler(ds)
    n_beta, burnin = float(sampler["n_beta"]), int(sampler.get("num_burnin_steps", 0))
    trace = _means(ds["sampling_loss_micro"])
    failed = {int(c) for c in ds.attrs.get("failed_chains", {})}
    healthy = [c for c in range(trace.shape[0]) if c not in failed and np.isfinite(trace[c, burnin:]).all()]
    if not healthy:
        raise RunFailed(
            "no chain is healthy", "All went non-finite or are unfinished; a smaller lr or a larger localization keeps chains near w0."
        )
    init_loss = float(ds["init_loss"].values[healthy].mean(dtype=np.float64))
    after = trace[healthy, burnin:]
    per_chain = np.full(trace.shape[0], np.nan)
    per_chain[healthy] = n_beta * (after.mean(1) - init_loss)
    draws = _means(ds["sampling_loss"])[healthy] if "sampling_loss" in ds else after
    rhat, ess = convergence(draws)
    error = std_error(draws, ess)
    return xr.Dataset(
        {
            "llc_mean": per_chain[healthy].mean(),
            "llc_std": per_chain[healthy].std(),
            "llc_std_error": math.nan if error is None else n_beta * error,
            "llc_per_chain": ("chain", per_chain),
            "llc_scalar": n_beta * (after.mean() - init_loss),
            "loss_trace": (("chain", "step"), trace),
            "init_loss": init_loss,
            "rhat": math.nan if rhat is None else rhat,
            "ess": math.nan if ess is None else ess,
        },
        attrs={"healthy_chains": healthy, "failed_chains": [c for c in range(trace.shape[0]) if c not in healthy]},
    )


def _sampler(ds: Any) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = ds.attrs["metadata"]["config"]["sampler"]
    except KeyError:
        raise UserError("the tree holds no samples: attribute metadata.config.sampler is missing", _HINT) from None
    for name in ("sampling_loss_micro", "init_loss"):
        if name not in ds:
            raise UserError(f"the tree holds no samples: array {name} is missing", _HINT)
    return found


def _means(losses: xr.DataArray) -> NDArray[np.float64]:
    """Mean over everything but (chain, time), read in stretches: a long run does not fit in memory."""
    chains, length = losses.shape[:2]
    stretch = max(1, _READ_BYTES // (4 * int(np.prod(losses.shape[2:], dtype=np.int64))))
    found = np.empty((chains, length))
    axes = tuple(range(1, losses.ndim - 1))
    for chain in range(chains):
        for start in range(0, length, stretch):
            part = losses[chain, start : start + stretch].values
            found[chain, start : start + stretch] = part.mean(axis=axes, dtype=np.float64)
    return found
