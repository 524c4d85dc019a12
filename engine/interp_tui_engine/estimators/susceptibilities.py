"""Susceptibilities: how the posterior of one part of a model responds, to first order, to more of a kind of data.

Baker, Wang, Hoogland & Murfet (2025), "Structural inference: interpreting small language models with susceptibilities"
(arXiv 2504.18274), appendix C.4. For a restriction C (only its weights are sampled) and a probe token with loss l(w), in nats:

    phi(w) = L(w) - L(w0)                                              L: mean loss on the sampling data
    chi    = E_C[phi L] - E_C[phi l] - E_C[phi] (E_full[L] - E_full[l])

expectations over draws and healthy chains of the restricted (C) or the unrestricted run (full). L at a draw is its mean over the
observable of the sampling data, L(w0) the unrestricted run's init_loss. Units: nats². Negative where the token's loss moves
with L more than L itself does. All sums in float64.

chi is a covariance and a shift: Cov_C(phi, L - l) + E_C[phi] (E_C[L - l] - E_full[L - l]). The shift tells parts apart by their size only;
it prevails where the unrestricted samples lie much farther out than the restricted ones, and shrinks faster with localization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..errors import UserError
from .observed import draw_means, healthy_chains, input_ids_of, known, losses_of, observed_in, pieces

PerToken = Float[NDArray[np.float64], "row position"]


@dataclass(frozen=True)
class Baseline:
    """What the unrestricted run contributes: L(w0), E_full[L], and E_full[l] of every probe token."""

    sampling: str
    init_loss: float
    sampling_mean: float
    probes: Mapping[str, PerToken]


class Response(NamedTuple):
    """One restriction: chi per token by observable; its mean over tokens and chains, and that mean's standard error over chains
    (NaN for a single chain). shift_share: of the sum of both parts' sizes, the shift's (NaN where both are 0)."""

    per_token: dict[str, PerToken]
    mean: dict[str, float]
    std_error: dict[str, float]
    healthy_chains: list[int]
    shift_share: float


def baseline(full: xr.Dataset, sampling: str, probes: Sequence[str]) -> Baseline:
    """From the store of the unrestricted run; `sampling` and `probes` are identifiers of observables in it."""
    chains = healthy_chains(full, sorted({sampling, *probes}))
    init = float(full["init_loss"].values[chains].mean(dtype=np.float64))
    means = {obs: _token_means(losses_of(full, obs), chains)[0] for obs in probes}
    return Baseline(sampling, init, float(draw_means(losses_of(full, sampling), chains).mean()), means)


def _token_means(
    losses: xr.DataArray, chains: Sequence[int], phi: Float[NDArray[np.float64], "chain draw"] | None = None
) -> tuple[PerToken, PerToken]:
    """Means over chains and draws of the losses, and of their products with phi (zeros without it), in one pass."""
    total, product = np.zeros(losses.shape[2:]), np.zeros(losses.shape[2:])
    for chain, start, values in pieces(losses, chains):
        part = values.astype(np.float64)
        total += part.sum(0)
        if phi is not None:
            product += np.tensordot(phi[chain, start : start + values.shape[0]], part, axes=1)
    count = len(chains) * losses.shape[1]
    return total / count, product / count


def response(restricted: xr.Dataset, base: Baseline) -> Response:
    """chi of the restriction whose samples `restricted` holds, for the probes of `base`."""
    probes = list(base.probes)
    chains = healthy_chains(restricted, sorted({base.sampling, *probes}))
    sampling = draw_means(losses_of(restricted, base.sampling), chains)
    phi = sampling - base.init_loss
    per_token, mean, error, sizes = {}, {}, {}, np.zeros(2)
    for obs in probes:
        losses, elsewhere = losses_of(restricted, obs), base.sampling_mean - base.probes[obs]
        if losses.shape[2:] != elsewhere.shape:
            raise UserError(f"loss_{obs} has {losses.shape[2:]} rows and positions, {elsewhere.shape} in the unrestricted run")
        here, with_phi = _token_means(losses, chains, phi)
        per_token[obs] = (phi * sampling).mean() - with_phi - phi.mean() * elsewhere
        shift = phi.mean() * (sampling.mean() - here - elsewhere)
        sizes += np.abs(shift).sum(), np.abs(per_token[obs] - shift).sum()
        # a chain's own chi, mean over tokens: equally long chains average to the pooled one
        own = (phi * (sampling - draw_means(losses, chains))).mean(1) - phi.mean(1) * elsewhere.mean()
        mean[obs] = float(own.mean())
        error[obs] = float(own.std(ddof=1)) / math.sqrt(len(chains)) if len(chains) > 1 else math.nan
    return Response(per_token, mean, error, chains, float(sizes[0] / sizes.sum()) if sizes.sum() else math.nan)


def probes_of(full: xr.Dataset, sampling: str, names: Sequence[str] | None, include_sampling: bool) -> list[str]:
    """Identifiers of the observables to respond to: those named, else all, with the sampling data's own only if asked for."""
    if names is not None:
        return [known(full, name, "observable") for name in names]
    found = [obs for obs in observed_in(full) if include_sampling or obs != sampling]
    if not found:
        raise UserError(f"the store observes nothing besides the sampling data {sampling!r}", "observe other data too, or include it")
    return found


def compute_susceptibilities(
    wr_map: Mapping[str, xr.DataTree],
    sampling_task: str,
    observable_names: Sequence[str] | None = None,
    include_sampling_task: bool = False,
) -> xr.DataTree:
    """Susceptibilities from stores that `sample` wrote, here or in devinterp: one a restriction, and "full" for the unrestricted run.

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
    base = baseline(full, sampling, sorted(probes_of(full, sampling, observable_names, include_sampling_task)))
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


def assemble(columns: Mapping[str, Mapping[str, PerToken]], context: Mapping[str, Int[NDArray[np.int64], "row token"]]) -> xr.DataTree:
    """The tree that `compute_susceptibilities` returns, from chi by restriction and observable and from the observables' token rows."""
    names = sorted(context)
    flat = [np.stack([columns[wr][obs].ravel() for wr in columns], axis=-1) for obs in names]
    tokens = [context[obs].ravel() for obs in names]
    shapes = {obs: columns[next(iter(columns))][obs].shape for obs in names}
    return xr.DataTree.from_dict(
        {
            "/susceptibilities": xr.Dataset(
                {"sus": (("sus_flat", "wr"), np.concatenate(flat).astype(np.float32))},
                coords={**_coordinates("sus_flat", "target_position", 1, shapes), "wr": list(columns)},
                attrs={"dataset_id_to_name": names},
            ),
            "/context": xr.Dataset(
                {"input_ids": ("ctx_flat", np.concatenate(tokens))},
                coords=_coordinates("ctx_flat", "position", 0, {obs: context[obs].shape for obs in names}),
                attrs={"dataset_id_to_name": names},
            ),
        }
    )


def _coordinates(dim: str, position: str, first: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, NDArray[np.int64]]]:
    """Data set, row and position of every place along a flattened axis."""
    parts = []
    for index, (rows, length) in enumerate(shapes.values()):
        row, place = np.indices((rows, length))
        parts.append((np.full(rows * length, index), row.ravel(), place.ravel() + first))
    return {
        name: (dim, np.concatenate(found)) for name, found in zip(("dataset_id", "batch", position), zip(*parts, strict=True), strict=True)
    }
