"""Susceptibilities: how the posterior of one part of a model responds, to first order, to more of a kind of data.

Baker, Wang, Hoogland & Murfet (2025), "Structural inference: interpreting small language models with susceptibilities"
(arXiv 2504.18274), appendix C.4. For a restriction C (only its weights are sampled) and a probe token with loss l(w), in nats:

    phi(w) = L(w) - L(w0)                                              L: mean loss on the sampling data
    chi    = E_C[phi L] - E_C[phi l] - E_C[phi] (E_full[L] - E_full[l])
           = Cov_C(phi, L - l) + E_C[phi] (E_C[L - l] - E_full[L - l])         covariance + shift

expectations over draws and healthy chains of the restricted (C) or the unrestricted run (full). L at a draw is its mean over the rows of
the sampling data that are observed, and L(w0) is taken on those same rows (`init_loss_{obs}` of the store): taken on other rows, the
difference of the two means enters the shift of every token. Units: nats². Negative where the token's loss moves with L more than L itself
does. All sums in float64.

The covariance is what tells parts apart. The shift tells them apart by their size only; it prevails where the unrestricted samples lie
much farther out than the restricted ones, and shrinks faster with localization.

Errors: see `autocorrelation`. A single token's draws are taken for as correlated as those of L - l are over the observable's tokens
(`token_time`), which may be more than those of phi: phi is a mean over rows and partly quadratic in the weights, and forgets faster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from ..errors import UserError
from .autocorrelation import (
    MeanEstimate,
    Series,
    correlation,
    correlation_time,
    covariance_estimate,
    mean_estimate,
    pooled_correlation_time,
    too_few,
)
from .observed import draw_means, healthy_chains, input_ids_of, known, losses_at_start, losses_of, observed_in, pieces
from .susceptibility_tree import PerToken as PerToken
from .susceptibility_tree import assemble

MOST_TOKENS = 128
"""Of an observable, evenly spread, whose autocorrelation is looked at."""
Paired = Literal["paired", "init"]
"""L(w0) on the observable's own rows, or the store's init_loss on the first batches of the sampling data, as devinterp takes it."""


@dataclass(frozen=True)
class Baseline:
    """What the unrestricted run contributes: L(w0) and whether it is that of the observed rows, E_full[L], E_full[l] of every probe token.

    difference: E_full[L - l] of each probe, mean over its tokens; token_error: standard error of E_full[L - l] of each token, None where
    it cannot be known.
    """

    sampling: str
    init_loss: float
    paired: bool
    sampling_mean: float
    probes: Mapping[str, PerToken]
    difference: Mapping[str, MeanEstimate]
    token_error: Mapping[str, PerToken | None]


class TokenResponses(NamedTuple):
    """A quantity of every token of an observable, in nats², with its standard error (None where it cannot be known)."""

    value: PerToken
    std_error: PerToken | None


class Response(NamedTuple):
    """One restriction. per_token: chi of every token by observable. covariance, shift: its two parts by token, with their errors.

    mean, mean_covariance, mean_shift: over an observable's tokens, with their errors. shift_share: of the sum of both parts' sizes, the
    shift's (NaN where both are 0).
    """

    per_token: dict[str, PerToken]
    covariance: dict[str, TokenResponses]
    shift: dict[str, TokenResponses]
    mean: dict[str, MeanEstimate]
    mean_covariance: dict[str, MeanEstimate]
    mean_shift: dict[str, MeanEstimate]
    healthy_chains: list[int]
    shift_share: float


def baseline(full: xr.Dataset, sampling: str, probes: Sequence[str], start: Paired = "paired") -> Baseline:
    """From the store of the unrestricted run; `sampling` and `probes` are identifiers of observables in it.

    Stores without losses of the observed rows at w0 (devinterp's) are compared with their init_loss, whatever `start` asks for.
    """
    chains = healthy_chains(full, sorted({sampling, *probes}))
    own = losses_at_start(full, sampling) if start == "paired" else None
    init = float(full["init_loss"].values[chains].mean(dtype=np.float64)) if own is None else float(own.mean(dtype=np.float64))
    trace = draw_means(losses_of(full, sampling), chains)
    time = correlation_time(trace)
    enough = not too_few(len(trace), trace.shape[1], trace.size / time, time)
    means, difference, errors = {}, {}, {}
    for obs in probes:
        losses = losses_of(full, obs)
        moments = _moments(losses, chains, trace, init)
        means[obs] = moments.mean
        difference[obs] = mean_estimate(trace - draw_means(losses, chains))
        errors[obs] = np.sqrt(_variance_of_difference(moments, trace) * token_time(losses, chains, trace) / trace.size) if enough else None
    return Baseline(sampling, init, own is not None, float(trace.mean()), means, difference, errors)


class _Moments(NamedTuple):
    """Means over chains and draws, by token: of l and phi l; and, with f = L less its mean and x = l less its first draw, of x, x², f x,
    f² x, f³ x and f² x²."""

    mean: PerToken
    with_phi: PerToken
    x: PerToken
    xx: PerToken
    fx: PerToken
    ffx: PerToken
    fffx: PerToken
    ffxx: PerToken


def _moments(losses: xr.DataArray, chains: Sequence[int], trace: Series, start: float) -> _Moments:
    """In one pass over the losses. trace: L at every draw; start: L(w0)."""
    f, phi = trace - trace.mean(), trace - start
    sums = {name: np.zeros(losses.shape[2:]) for name in _Moments._fields}
    first: PerToken | None = None
    for chain, begin, values in pieces(losses, chains):
        part, here = values.astype(np.float64), slice(begin, begin + values.shape[0])
        first = part[0].copy() if first is None else first
        sums["mean"] += part.sum(0)
        sums["with_phi"] += np.tensordot(phi[chain, here], part, axes=1)
        part -= first  # what is left varies about zero, so that powers keep their digits
        powers = np.stack([f[chain, here] ** power for power in range(4)])
        for name, total in zip(("x", "fx", "ffx", "fffx"), np.tensordot(powers, part, axes=1), strict=True):
            sums[name] += total
        part *= part
        for name, total in zip(("xx", "ffxx"), np.tensordot(powers[[0, 2]], part, axes=1), strict=True):
            sums[name] += total
    return _Moments(**{name: total / trace.size for name, total in sums.items()})


def _variance_of_difference(moments: _Moments, trace: Series) -> PerToken:
    """Of L - l over the draws: var L + var l - 2 Cov(L, l)."""
    return np.asarray(np.maximum(trace.var() + moments.xx - moments.x**2 - 2 * moments.fx, 0.0))


def token_time(losses: xr.DataArray, chains: Sequence[int], trace: Series) -> float:
    """Autocorrelation time of L - l, over the observable's tokens: of each scaled to unit variance, at most `MOST_TOKENS` of them."""
    count = int(np.prod(losses.shape[2:], dtype=np.int64))
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_TOKENS)).astype(np.int64))
    series = np.empty((len(chosen), *trace.shape))
    for chain, begin, values in pieces(losses, chains):
        here = slice(begin, begin + values.shape[0])
        series[:, chain, here] = trace[chain, here] - values.reshape(len(values), -1)[:, chosen].T
    return pooled_correlation_time(series)


def response(restricted: xr.Dataset, base: Baseline) -> Response:
    """chi of the restriction whose samples `restricted` holds, for the probes of `base`.

    Raises UserError for rows that are not those of the unrestricted run.
    """
    probes = list(base.probes)
    chains = healthy_chains(restricted, sorted({base.sampling, *probes}))
    sampling = draw_means(losses_of(restricted, base.sampling), chains)
    phi = sampling - base.init_loss
    answer = Response({}, {}, {}, {}, {}, {}, chains, math.nan)
    sizes = np.zeros(2)
    for obs in probes:
        losses, elsewhere = losses_of(restricted, obs), base.sampling_mean - base.probes[obs]
        if losses.shape[2:] != elsewhere.shape:
            raise UserError(f"loss_{obs} has {losses.shape[2:]} rows and positions, {elsewhere.shape} in the unrestricted run")
        moments = _moments(losses, chains, sampling, base.init_loss)
        answer.per_token[obs] = (phi * sampling).mean() - moments.with_phi - phi.mean() * elsewhere
        shift = phi.mean() * (sampling.mean() - moments.mean - elsewhere)
        covariance = answer.per_token[obs] - shift
        sizes += np.abs(shift).sum(), np.abs(covariance).sum()
        errors = _token_errors(moments, sampling, token_time(losses, chains, sampling), base, obs)
        answer.covariance[obs], answer.shift[obs] = TokenResponses(covariance, errors[0]), TokenResponses(shift, errors[1])
        own = sampling - draw_means(losses, chains)
        answer.mean_covariance[obs], answer.mean_shift[obs], answer.mean[obs] = _means(phi, own, base.difference[obs])
    return answer._replace(shift_share=float(sizes[0] / sizes.sum()) if sizes.sum() else math.nan)


def _token_errors(
    moments: _Moments, trace: Series, time_of_tokens: float, base: Baseline, obs: str
) -> tuple[PerToken | None, PerToken | None]:
    """Standard errors of each token's covariance and of its shift.

    The covariance is a mean of products f e, e = (L - l) less its mean, whose autocorrelation time is taken to be that of f²; their
    variance is the larger of their own and of the Gaussian var f var e + Cov(f, e)². The shift is linear in f and e, each with its own
    autocorrelation time, and has the unrestricted run's error besides.
    """
    f, count = trace - trace.mean(), trace.size
    squared, time = correlation_time(f * f), correlation_time(trace)
    if not f.any() or too_few(len(trace), trace.shape[1], count / squared, time):
        return None, None
    variance, both = _variance_of_difference(moments, trace), f.var() - moments.fx
    cubed = moments.fffx - moments.x * (f**3).mean()
    square = (f**4).mean() - 2 * cubed + moments.ffxx - 2 * moments.x * moments.ffx + moments.x**2 * f.var()
    spread = np.maximum(square - both**2, f.var() * variance + both**2)
    ahead, level = trace.mean() - moments.mean - (base.sampling_mean - base.probes[obs]), trace.mean() - base.init_loss
    linear = ahead**2 * f.var() * time + level**2 * variance * time_of_tokens + 2 * ahead * level * both * math.sqrt(time * time_of_tokens)
    elsewhere = base.token_error[obs]
    shift = None if elsewhere is None else np.sqrt(np.maximum(linear, 0.0) / count + level**2 * elsewhere**2)
    return np.sqrt(spread * squared / count), shift


def _means(phi: Series, own: Series, elsewhere: MeanEstimate) -> tuple[MeanEstimate, MeanEstimate, MeanEstimate]:
    """Cov(phi, own), E[phi] (E[own] - elsewhere), and their sum chi, own being L - l.

    The shift's error is from what each draw changes of it, and from that of `elsewhere`. The two parts' errors go together as far as what a
    draw changes of the one goes with what it changes of the other: not at all for Gaussian draws, of which products and the draws
    themselves are uncorrelated, but where losses are curved.
    """
    ahead = float(own.mean()) - elsewhere.value
    covariance = covariance_estimate(phi, own)
    series = (phi - phi.mean()) * ahead + phi.mean() * (own - own.mean())
    draws = mean_estimate(series)
    why = draws.why or (elsewhere.why and f"{elsewhere.why} of the whole model")
    shift = MeanEstimate(float(phi.mean()) * ahead, None, draws.ess, why)
    value, ess = covariance.value + shift.value, min(covariance.ess, draws.ess, elsewhere.ess)
    if draws.std_error is None or elsewhere.std_error is None:
        return covariance, shift, MeanEstimate(value, None, ess, covariance.why or why)
    far = float(phi.mean()) * elsewhere.std_error
    shift = MeanEstimate(shift.value, math.hypot(draws.std_error, far), min(draws.ess, elsewhere.ess))
    if covariance.std_error is None:
        return covariance, shift, MeanEstimate(value, None, ess, covariance.why)
    together = correlation((phi - phi.mean()) * (own - own.mean()), series) * covariance.std_error * draws.std_error
    variance = covariance.std_error**2 + draws.std_error**2 + 2 * together
    return covariance, shift, MeanEstimate(value, math.sqrt(max(variance, 0.0) + far**2), ess, freedom=covariance.freedom)


def probes_of(full: xr.Dataset, sampling: str, names: Sequence[str] | None, include_sampling: bool) -> list[str]:
    """Identifiers of the observables to respond to: those named, else all, with the sampling data's own only if asked for.

    Raises UserError where there are none.
    """
    if names is not None:
        return [known(full, name, "observable") for name in names]
    probes = [obs for obs in observed_in(full) if include_sampling or obs != sampling]
    if not probes:
        raise UserError(f"the store observes nothing besides the sampling data {sampling!r}", "observe other data too, or include it")
    return probes


def compute_susceptibilities(
    wr_map: Mapping[str, xr.DataTree],
    sampling_task: str,
    observable_names: Sequence[str] | None = None,
    include_sampling_task: bool = False,
    baseline_loss: Paired = "paired",
) -> xr.DataTree:
    """Susceptibilities from stores that `sample` wrote, here or in devinterp: one a restriction, and "full" for the unrestricted run.

    baseline_loss: where L(w0) is taken; "init" gives devinterp's number from any store.

    Returns `/susceptibilities` with sus (sus_flat, wr) float32 and coords dataset_id, batch, target_position (1 … t), and `/context` with
    input_ids (ctx_flat) and coords dataset_id, batch, position; attr dataset_id_to_name in both. "full" is no column.

    Raises UserError for stores that do not fit together, RunFailed when one of them has no healthy chain.
    """
    if "full" not in wr_map:
        raise UserError(f"no unrestricted run among {', '.join(map(repr, wr_map)) or 'no stores'}", "give its store under the name 'full'")
    if len(wr_map) == 1:
        raise UserError("there is no restriction besides 'full'", "add stores of restricted runs, such as 'l0h0'")
    full = wr_map["full"].dataset
    sampling = known(full, sampling_task, "sampling_task")
    base = baseline(full, sampling, sorted(probes_of(full, sampling, observable_names, include_sampling_task)), baseline_loss)
    context = {obs: input_ids_of(full, obs) for obs in base.probes}
    columns: dict[str, dict[str, PerToken]] = {}
    for name, tree in wr_map.items():
        if name == "full":
            continue
        for obs in [sampling, *base.probes]:
            known(tree.dataset, obs, f"restriction {name!r}:")
        for obs, ids in context.items():
            if not np.array_equal(ids, input_ids_of(tree.dataset, obs)):
                raise UserError(
                    f"restriction {name!r} observed other rows of {obs!r} than the unrestricted run", "use the same obs_seed and data"
                )
        columns[name] = response(tree.dataset, base).per_token
    return assemble(columns, context)
