"""Reading what a store observed: losses `loss_{obs} (chain, draw, batch_{obs}, token_pos)` of the chains that can be trusted, in stretches.

A store is what `sample` wrote, here or in devinterp. Losses are float32 in nats; expectations are summed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..data.names import obs_id
from ..errors import MissingName, RunFailed, UserError
from ..validation_errors import nearest

STRETCH_BYTES = 32 << 20
"""Losses read at once: a long run does not fit in memory."""


class Piece(NamedTuple):
    """Some draws of one chain. `chain` counts the chains asked for; draws start at `start`."""

    chain: int
    start: int
    losses: Float[NDArray[np.float32], "draw row position"]


def observed_in(samples: xr.Dataset) -> list[str]:
    """Identifiers of the store's observables, in alphabetical order."""
    return sorted(str(name).removeprefix("loss_") for name in samples.data_vars if str(name).startswith("loss_"))


def known(samples: xr.Dataset, name: str, role: str) -> str:
    """The identifier of the observable called `name`. Raises UserError naming those there are."""
    there, wanted = observed_in(samples), obs_id(name)
    if wanted not in there:
        guess = nearest(wanted, there)
        hint = f"did you mean {guess!r}?" if guess else f"it holds {', '.join(there)}" if there else "it observed nothing"
        raise MissingName(f"{role} {name!r} is no observable of the store", hint)
    return wanted


def losses_of(samples: xr.Dataset, obs: str) -> xr.DataArray:
    """The array of an observable's losses, its axes checked. Raises UserError for axes that are none of a store's."""
    losses = samples[f"loss_{obs}"]
    expected = ("chain", "draw", f"batch_{obs}", "token_pos")
    if losses.dims != expected:
        raise UserError(f"loss_{obs} has axes {tuple(map(str, losses.dims))}", f"a store has {expected}")
    return losses


def input_ids_of(samples: xr.Dataset, obs: str) -> Int[NDArray[np.int64], "row token"]:
    """The observable's token rows; the same for every chain and draw. Shape (rows, tokens). Raises UserError where the store holds none."""
    if f"input_ids_{obs}" not in samples:
        raise UserError(f"the store holds no input_ids_{obs}", "only token rows have susceptibilities and influences by token")
    ids = np.asarray(samples[f"input_ids_{obs}"].values)
    while ids.ndim > 2:
        ids = ids[0]
    return ids


def losses_at_start(samples: xr.Dataset, obs: str) -> Float[NDArray[np.float32], "row position"] | None:
    """The observable's losses at w0; None in a store that does not hold them, as devinterp's."""
    stored = samples.get(f"init_loss_{obs}")
    values = None if stored is None else np.asarray(stored.values)
    return values if values is not None and np.isfinite(values).all() else None


def pieces(losses: xr.DataArray, chains: Sequence[int], at_once: int = STRETCH_BYTES) -> Iterator[Piece]:
    """All draws of these chains, a stretch of at most `at_once` bytes (one draw at least) at a time."""
    draws = losses.shape[1]
    stretch = max(1, at_once // (4 * int(np.prod(losses.shape[2:], dtype=np.int64))))
    for index, chain in enumerate(chains):
        for start in range(0, draws, stretch):
            yield Piece(index, start, np.asarray(losses[chain, start : start + stretch].values))


def draw_means(losses: xr.DataArray, chains: Sequence[int]) -> Float[NDArray[np.float64], "chain draw"]:
    """Mean over rows and positions at each draw."""
    means = np.empty((len(chains), losses.shape[1]))
    for chain, start, values in pieces(losses, chains):
        means[chain, start : start + values.shape[0]] = values.mean(axis=(1, 2), dtype=np.float64)
    return means


def healthy_chains(samples: xr.Dataset, observables: Sequence[str]) -> list[int]:
    """Chains that did not fail and whose losses are all finite. Raises RunFailed when there is none."""
    failed = {int(chain) for chain in samples.attrs.get("failed_chains", {})}
    healthy = [chain for chain in range(int(samples.sizes["chain"])) if chain not in failed]
    for obs in observables:
        losses = losses_of(samples, obs)
        healthy = [chain for chain in healthy if np.isfinite(draw_means(losses, [chain])).all()]
    if not healthy:
        raise RunFailed("no chain is healthy", "All went non-finite or are unfinished; lower lr or raise localization.")
    return healthy
