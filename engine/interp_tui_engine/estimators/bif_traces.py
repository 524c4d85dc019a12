"""Loss traces laid out for influence: one standardised row of observations for each token, or each sequence.

Observations are draws: of all chains one after another ("stack"), or of the chains' mean ("mean"). A row z is centred and scaled so
that z·z' is the quantity itself: the Pearson correlation, or the covariance (ddof 1). Rows that never vary have no correlation: they
are NaN, and named. Moments are taken in float64, rows kept in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ..errors import UserError
from .observed import healthy_chains, losses_of, pieces

Method = Literal["token", "sequence"]
Reduce = Literal["stack", "mean"]
BLOCK_BYTES = 16 << 20


class Traces(NamedTuple):
    """z by row (all observables in order), series (positions, or one for sequences and averages) and observation.

    constant: by position, also where positions were averaged. runs: how many stretches of successive draws an observation axis holds.
    """

    z: Float[NDArray[np.float32], "row series observation"]
    constant: Bool[NDArray[np.bool_], "row position"]
    healthy_chains: list[int]
    runs: int


def load_traces(
    samples: xr.Dataset,
    observables: Sequence[str],
    method: Method,
    reduce: Reduce,
    average: bool,
    covariance: bool,
    budget: int,
    scratch: Path | None,
) -> Traces:
    """Read and standardise. Traces larger than `budget` bytes go to a scratch file in the folder
    `scratch` (the system's for such files when None), which is mapped into memory and gone with it.
    Raises UserError for observables of different lengths, and for fewer than two draws.
    """
    chains = healthy_chains(samples, observables)
    arrays = [losses_of(samples, obs) for obs in observables]
    lengths = {array.shape[3] for array in arrays}
    if len(lengths) > 1:
        raise UserError(
            f"observables have {sorted(lengths)} positions", "influence compares sequences of one length; name loss_keys that agree"
        )
    draws = arrays[0].shape[1]
    count = draws * (len(chains) if reduce == "stack" else 1)
    if count < 2:
        raise UserError("influence needs at least 2 draws", "sample more draws, or stack the chains")
    rows, positions = sum(array.shape[2] for array in arrays), 1 if method == "sequence" else arrays[0].shape[3]
    raw = _allocate((rows, positions, count), budget, scratch)
    start = 0
    for array in arrays:
        _fill(raw[start : start + array.shape[2]], array, chains, method, reduce, budget // 8)
        start += array.shape[2]
    constant = _standardise(raw, covariance)
    return Traces(_averaged(raw) if average and method == "token" else raw, constant, chains, len(chains) if reduce == "stack" else 1)


def _allocate(shape: tuple[int, ...], budget: int, scratch: Path | None) -> NDArray[np.float32]:
    if 4 * int(np.prod(shape, dtype=np.int64)) <= budget:
        return np.zeros(shape, np.float32)
    with tempfile.NamedTemporaryFile(prefix=".traces-", dir=scratch) as file:  # unlinked at once: the mapping keeps it
        return np.memmap(Path(file.name), np.float32, "w+", shape=shape)


def _fill(out: NDArray[np.float32], losses: xr.DataArray, chains: Sequence[int], method: Method, reduce: Reduce, at_once: int) -> None:
    """Copy losses less each series' first one: what is left varies about zero, so that float32 keeps its digits."""
    draws = losses.shape[1]
    first = None
    for chain, start, losses_here in pieces(losses, chains, at_once):
        values = losses_here.astype(np.float64)
        if method == "sequence":
            values = values.mean(axis=2, keepdims=True)
        first = values[0].copy() if first is None else first
        part = (values - first).transpose(1, 2, 0)
        if reduce == "stack":
            begin = chain * draws + start
            out[:, :, begin : begin + part.shape[2]] = part
        else:
            out[:, :, start : start + part.shape[2]] += part / len(chains)


def _standardise(z: NDArray[np.float32], covariance: bool) -> NDArray[np.bool_]:
    """Centre and scale in place; returns which series are constant."""
    constant = np.zeros(z.shape[:2], dtype=bool)
    step = max(1, BLOCK_BYTES // (8 * z.shape[1] * z.shape[2]))
    for start in range(0, z.shape[0], step):
        part = z[start : start + step]
        flat = part.max(axis=2) == part.min(axis=2)  # exact, where a variance would be rounding noise
        centred = part - part.mean(axis=2, keepdims=True, dtype=np.float64)
        if covariance:
            scale = np.full(part.shape[:2], np.sqrt(part.shape[2] - 1.0))
            centred[flat] = 0.0
        else:
            scale = np.sqrt(np.einsum("rso,rso->rs", centred, centred))
            scale[flat] = np.nan
        part[:] = centred / scale[:, :, None]
        constant[start : start + step] = flat
    return constant


def standardised(
    losses: Float[NDArray[np.float32], "row series observation"], *, covariance: bool
) -> tuple[Float[NDArray[np.float32], "row series observation"], Bool[NDArray[np.bool_], "row series"]]:
    """A copy centred and scaled, so that products are correlations or covariances; and which series are constant."""
    z = losses.copy()
    return z, _standardise(z, covariance)


def _averaged(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over positions: its products are the means of the products over all pairs of positions. Constant ones are left out."""
    averaged = np.empty((z.shape[0], 1, z.shape[2]), np.float32)
    for row in range(z.shape[0]):
        there = z[row][~np.isnan(z[row, :, 0])]
        averaged[row, 0] = there.mean(axis=0, dtype=np.float64) if len(there) else np.nan
    return averaged
