"""Bayesian influence functions: which losses move together over the posterior around a model's weights.

Kreer, Wu, Adam, Furman & Hoogland (2025), "Bayesian influence functions for Hessian-free data attribution" (arXiv 2509.26544): the
influence of example i on example j is the covariance of their losses, in nats², over samples of the localised posterior; scaled by both
standard deviations it is their Pearson correlation, which is what is computed unless covariance is asked for.

One product of standardised traces, Z1 Z2ᵀ (see bif_traces), made in blocks. A block and the traces stay within the memory budget, and so
does the result: a larger one is written to Zarr and read from there lazily.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import UserError
from .bif_traces import Method, Reduce, Traces, load_traces
from .observed import input_ids_of, known, observed_in

MEMORY_BUDGET = 1 << 30
CHUNK_BYTES = 8 << 20
NAMED_AT_MOST = 1000
"""Constant traces that are listed by row and position; all are counted."""

Progress = Callable[[int, int], None]
"""Rows of the first operand done, and in all; called after each block, whose results are then in place."""


class Shape(NamedTuple):
    """Of the result: rows of either operand, and series a row (positions, or 1)."""

    rows_1: int
    rows_2: int
    series: int

    @property
    def nbytes(self) -> int:
        """Bytes of the influences in float32."""
        return 4 * self.rows_1 * self.rows_2 * self.series**2


def compute_bif(
    samples: xr.DataTree,
    *,
    correlation_method: Method = "token",
    reduce_chain_dimension_method: Reduce = "stack",
    loss_keys: Literal["all"] | Sequence[str] = "all",
    batch_index_range_1: Literal["all"] | Sequence[int] = "all",
    batch_index_range_2: Literal["all"] | Sequence[int] = "all",
    average_tokenwise_bif: bool = False,
    compute_covariance: bool = False,
    batch_size: int = 32,
    device: str | None = None,
    memory_budget: int = MEMORY_BUDGET,
    output_path: str | Path | None = None,
    first_row: int = 0,
    on_block: Progress = lambda done, total: None,
) -> xr.Dataset:
    """Influences from a store that `sample` wrote, here or in devinterp. Failed chains are left out.

    loss_keys: which observables, all of them in alphabetical order when "all". batch_index_range: rows of the first and second operand.
    average_tokenwise_bif: mean over pairs of positions. batch_size: most rows of either operand in a block, where tokens are compared.
    device: a torch device to multiply on; this machine's processor when None. memory_budget: bytes. output_path: a Zarr store for the
    result, whatever its size; first_row: go on there with a result whose rows before this one are written.

    Returns influences (batch_1, batch_2[, target_position, target_position_T]), float32, positions 1 … t, and input_ids (batch,
    position); rows count over all observables. NaN where a loss never varies. attrs: observables and their row counts,
    constant_count and constant [[row, position]], healthy_chains. Raises UserError for a store that observes nothing.
    """
    ds = samples.dataset
    observables = observed_in(ds) if loss_keys == "all" else [known(ds, key, "loss key") for key in loss_keys]
    if not observables:
        raise UserError("the store observes no data", "influence needs observables; sample with some")
    _check(correlation_method, reduce_chain_dimension_method, batch_size)
    scratch = Path(output_path).absolute().parent if output_path is not None else None
    method, reduce, average = correlation_method, reduce_chain_dimension_method, average_tokenwise_bif
    traces = load_traces(ds, observables, method, reduce, average, compute_covariance, memory_budget // 2, scratch)
    rows = traces.z.shape[0]
    chosen = [_rows(given, rows, f"batch_index_range_{n}") for n, given in ((1, batch_index_range_1), (2, batch_index_range_2))]
    shape = Shape(len(chosen[0]), len(chosen[1]), traces.z.shape[1])
    per_token = correlation_method == "token" and not average_tokenwise_bif
    dims = ("batch_1", "batch_2", "target_position", "target_position_T")[: 4 if per_token else 2]
    full = (shape.rows_1, shape.rows_2, shape.series, shape.series)[: len(dims)]
    to_zarr = output_path is not None or shape.nbytes > memory_budget
    path = Path(output_path) if output_path is not None else Path(tempfile.mkdtemp(prefix="interp-tui-")) / "bif.zarr" if to_zarr else None
    blocks = _block_rows(shape, batch_size, min(memory_budget // 4, CHUNK_BYTES) if to_zarr else memory_budget // 4)
    out: Any = np.empty(full, np.float32) if path is None else _open(path, full, blocks, dims, first_row)
    _products(traces.z, chosen, out, blocks, None if compute_covariance else 1.0, device, first_row, on_block)
    return _dataset(ds, observables, traces, chosen, out, path, dims)


def _check(method: str, reduce: str, batch_size: int) -> None:
    for name, value, allowed in (
        ("correlation_method", method, ("token", "sequence")),
        ("reduce_chain_dimension_method", reduce, ("stack", "mean")),
    ):
        if value not in allowed:
            raise UserError(f"{name} = {value!r}", f"one of {', '.join(map(repr, allowed))}")
    if batch_size < 1:
        raise UserError(f"batch_size = {batch_size}", "at least 1")


def _rows(given: Literal["all"] | Sequence[int], count: int, name: str) -> list[int]:
    if isinstance(given, str):
        return list(range(count))
    rows = [int(row) for row in given]
    wrong = [row for row in rows if not 0 <= row < count]
    if wrong or not rows:
        raise UserError(f"{name} holds {wrong[0] if wrong else 'no row'}", f"rows are 0 … {count - 1}")
    return rows


def _block_rows(shape: Shape, most: int, budget: int) -> tuple[int, int]:
    """Rows of either operand in a block of at most `budget` bytes, if a single pair takes no more; at most `most` rows of tokens."""
    pair = 4 * shape.series**2
    most = most if shape.series > 1 else max(shape)
    second = max(1, min(shape.rows_2, most, budget // pair))
    return max(1, min(shape.rows_1, most, budget // (pair * second))), second


def _products(
    z: Float[NDArray[np.float32], "row series observation"],
    chosen: list[list[int]],
    out: Any,
    blocks: tuple[int, int],
    limit: float | None,
    device: str | None,
    first_row: int,
    on_block: Progress,
) -> None:
    """Fill `out` block by block; `limit` bounds what rounding may push beyond ±1."""
    multiply = _multiplier(device)
    series = z.shape[1]
    for i in range(first_row - first_row % blocks[0], len(chosen[0]), blocks[0]):
        left = chosen[0][i : i + blocks[0]]
        for j in range(0, len(chosen[1]), blocks[1]):
            right = chosen[1][j : j + blocks[1]]
            product = multiply(_taken(z, left), _taken(z, right))
            if limit is not None:
                np.clip(product, -limit, limit, out=product)
            pairs = product.reshape(len(left), series, len(right), series).swapaxes(1, 2)
            out[i : i + len(left), j : j + len(right)] = pairs if out.ndim == 4 else pairs[:, :, 0, 0]
        on_block(i + len(left), len(chosen[0]))


def _taken(z: NDArray[np.float32], rows: list[int]) -> Float[NDArray[np.float32], "n observation"]:
    first = rows[0]
    part = z[first : first + len(rows)] if rows == list(range(first, first + len(rows))) else z[rows]
    return part.reshape(-1, z.shape[2])


def _multiplier(device: str | None) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    if device is None or device == "cpu":
        return lambda a, b: a @ b.T
    import torch

    def product(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        multiplied: NDArray[np.float32] = (torch.from_numpy(a).to(device) @ torch.from_numpy(b).to(device).T).cpu().numpy()
        return multiplied

    return product


def _open(path: Path, shape: tuple[int, ...], blocks: tuple[int, int], dims: tuple[str, ...], first_row: int) -> Any:
    if first_row:
        return zarr.open_group(path, mode="r+")["influences"]
    if path.exists() and not (path / "zarr.json").exists() and any(path.iterdir()):
        raise UserError(f"{path} exists and is no Zarr store", "choose another output_path")
    group = zarr.open_group(path, mode="w")
    chunks = (*blocks, *shape[2:])
    return group.create_array("influences", shape=shape, chunks=chunks, dtype="float32", fill_value=np.nan, dimension_names=dims)


def _dataset(
    ds: xr.Dataset, observables: list[str], traces: Traces, chosen: list[list[int]], out: Any, path: Path | None, dims: tuple[str, ...]
) -> xr.Dataset:
    ids = [input_ids_of(ds, obs) for obs in observables if f"input_ids_{obs}" in ds]
    coords: dict[str, Any] = {"batch_1": chosen[0], "batch_2": chosen[1]}
    if len(dims) == 4:
        coords |= {name: np.arange(1, traces.z.shape[1] + 1) for name in dims[2:]}
    constant = np.argwhere(traces.constant)
    attrs = {
        "observables": observables,
        "rows": [int(ds[f"loss_{obs}"].shape[2]) for obs in observables],
        "healthy_chains": traces.healthy_chains,
        "constant_count": int(traces.constant.sum()),
        "constant": constant[:NAMED_AT_MOST].tolist(),
    }
    rest: dict[str, Any] = {"input_ids": (("batch", "position"), np.concatenate(ids))} if len(ids) == len(observables) else {}
    if path is None:
        return xr.Dataset({"influences": (dims, out), **rest}, coords=coords, attrs=attrs)
    xr.Dataset(rest, coords=coords, attrs=attrs).to_zarr(path, mode="a", consolidated=False)
    opened: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None)
    return opened
