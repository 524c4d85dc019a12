"""The Zarr tree of a sampling run: names, dimensions and attributes as devinterp writes them, readable by `xr.open_datatree`.

    init_loss (chain, token_pos)                sampling_loss (chain, draw, batch, token_pos)
    init_loss_micro (step), or (chain, step) when chains see different batches: mean loss at w0 of the step's own rows, float64
    sampling_loss_micro (chain, step, batch_sampling, token_pos)
    sampling_rows_micro (step, batch_sampling), or (chain, step, batch_sampling) when chains see different batches
    loss_{obs} (chain, draw, batch_{obs}, token_pos)      input_ids_{obs} (batch_{obs}, token)      metrics_* (chain, step)
    init_loss_{obs} (batch_{obs}, token_pos): the observable's own rows at w0, which devinterp does not keep
    acceptance (chain, check)

Other losses are float32 in nats. The sampling side's tokens are row numbers of the sampling dataset: as ids they would repeat the dataset
once per chain and epoch. Rows of a failed or unfinished chain read as NaN (the fill value).

A chunk holds one chain and a stretch of steps or draws, so chains (and the workers that run them) never write the same file, and a
chunk is only ever written whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import zarr
from numpy.typing import NDArray

from ...digests import of_blocks
from ...errors import RunFailed
from ..metrics import NAMES as METRICS
from ..settings import SamplerConfig

if TYPE_CHECKING:
    import xarray as xr

ANCHOR = "init_loss_micro"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ObservableSpec:
    """How an observable appears in the store. `input_ids` (rows, token) is None where examples are not token rows."""

    name: str
    rows: int
    batches_per_draw: int
    input_ids: NDArray[np.int64] | None


@dataclass(frozen=True)
class ArraySpec:
    """One array: its axes, and how many steps or draws one chunk holds along the time axis (None: not streamed)."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    stretch: int | None


def layout(config: SamplerConfig, positions: int, observables: tuple[ObservableSpec, ...]) -> dict[str, ArraySpec]:
    """The arrays that a run of this configuration holds."""
    chains, steps, draws, batch = config.num_chains, config.num_sgld_steps, config.num_draws, config.rows_per_step

    def stream(time: str, length: int, *inner: tuple[str, int]) -> ArraySpec:
        size = 4 * int(np.prod([n for _, n in inner], dtype=np.int64))
        stretch = int(min(length, max(1, _CHUNK_BYTES // size)))
        return ArraySpec(("chain", time, *(d for d, _ in inner)), (chains, length, *(n for _, n in inner)), "float32", stretch)

    arrays = {
        "init_loss": ArraySpec(("chain", "token_pos"), (chains, positions), "float32", None),
        "sampling_loss": stream("draw", draws, ("batch", config.batch_size), ("token_pos", positions)),
        "sampling_loss_micro": stream("step", steps, ("batch_sampling", batch), ("token_pos", positions)),
    }
    if config.match_sampling_input_ids_across_chains:
        arrays["sampling_rows_micro"] = ArraySpec(("step", "batch_sampling"), (steps, batch), "int64", None)
    else:
        arrays["sampling_rows_micro"] = ArraySpec(("chain", "step", "batch_sampling"), (chains, steps, batch), "int64", None)
    if config.baseline == "paired":
        arrays[ANCHOR] = ArraySpec(("step",), (steps,), "float64", None)
        if not config.match_sampling_input_ids_across_chains:
            arrays[ANCHOR] = ArraySpec(("chain", "step"), (chains, steps), "float64", None)
    for obs in observables:
        arrays[f"loss_{obs.name}"] = stream("draw", draws, (f"batch_{obs.name}", obs.rows), ("token_pos", positions))
        arrays[f"init_loss_{obs.name}"] = ArraySpec((f"batch_{obs.name}", "token_pos"), (obs.rows, positions), "float32", None)
        if obs.input_ids is not None:
            arrays[f"input_ids_{obs.name}"] = ArraySpec((f"batch_{obs.name}", "token"), obs.input_ids.shape, "int64", None)
    if config.save_metrics:
        arrays |= {f"metrics_{name}": stream("step", steps) for name in METRICS}
    if config.num_acceptances:
        arrays["acceptance"] = stream("check", config.num_acceptances)
    return arrays


@final
class SampleStore:
    """A store on disk, open for writing."""

    def __init__(self, path: Path, arrays: Mapping[str, ArraySpec], group: zarr.Group) -> None:
        self.path, self.arrays, self._group = path, dict(arrays), group
        self._open = {name: _array(group, name) for name in arrays}

    @classmethod
    def create(
        cls,
        path: Path,
        config: SamplerConfig,
        positions: int,
        observables: tuple[ObservableSpec, ...],
        attrs: Mapping[str, Any],
        numel: int | None = None,
    ) -> SampleStore:
        """Make the tree, or open the one that an earlier attempt made. `attrs` join the root attributes (they must be JSON).

        Raises RunFailed when the folder holds a store of another shape.
        """
        arrays = layout(config, positions, observables)
        if (path / "zarr.json").exists() and zarr.open_group(path, mode="r").attrs.get("created"):
            return cls._reopen(path, arrays)
        group = zarr.open_group(path, mode="w")
        for name, spec in arrays.items():
            _create(group, name, spec)
        for obs in observables:
            if obs.input_ids is not None:
                _array(group, f"input_ids_{obs.name}")[...] = obs.input_ids
        sampler = {**config.model_dump(), "scheduler_type": "constant", "scheduler_kwargs": None, "cores": 1, "online": False}
        seen = [{"type": "ObserveDifferentDataset", "obs_id": o.name, "batches_per_draw": o.batches_per_draw} for o in observables]
        metadata = {
            "config": {
                "sampler": sampler,
                "observables": seen,
                "shared_observable_dims": ["token", "token_pos"],
                "tokenizer_context_length": positions + 1,
            }
        }
        extra = {"metrics_numel": numel} if config.save_metrics else {}
        # "created" comes last: a store without it was cut short and is made anew.
        group.update_attributes({**attrs, "metadata": metadata, **extra, "completed": 0, "failed_chains": {}})
        group.update_attributes({"created": 1})
        return cls(path, arrays, group)

    @classmethod
    def _reopen(cls, path: Path, arrays: Mapping[str, ArraySpec]) -> SampleStore:
        group = zarr.open_group(path, mode="r+")
        if ANCHOR in arrays and ANCHOR not in group:  # begun before stores held it
            _create(group, ANCHOR, arrays[ANCHOR])
        for name, spec in arrays.items():
            if name not in group or _array(group, name).shape != spec.shape:
                raise RunFailed(f"{path.name} holds samples of another configuration", "Choose another folder, or remove it.")
        return cls(path, arrays, group)

    def write(self, name: str, index: tuple[int | slice, ...], values: NDArray[Any]) -> None:
        """Write one region. Called by the background writer only, except before chains start.

        index: an entry an axis; values: of the region's shape.
        """
        self._open[name][index] = values

    def written_files(self, name: str, index: tuple[int | slice, ...]) -> Iterator[Path]:
        """The chunk files that a region written by `write` lies in, for fsync."""
        spec = self.arrays[name]
        if spec.stretch is None:
            return
        chain, when = index[0], index[1]
        assert isinstance(chain, int) and isinstance(when, slice)
        inner = ["0"] * (len(spec.shape) - 2)
        for chunk in range(when.start // spec.stretch, -(-when.stop // spec.stretch)):
            path = self.path.joinpath(name, "c", str(chain), str(chunk), *inner)
            if path.exists():
                yield path

    def finish(self, failed: Mapping[int, tuple[int, str]]) -> None:
        """Mark the store complete: every chain has finished, or is named in `failed` as chain -> (step, reason)."""
        shown = {str(chain): {"step": step, "reason": reason} for chain, (step, reason) in sorted(failed.items())}
        self._group.update_attributes({"failed_chains": shown})
        self._group.update_attributes({"completed": 1})

    def nbytes(self) -> int:
        """Bytes of all arrays, uncompressed."""
        return sum(int(np.prod(s.shape, dtype=np.int64)) * np.dtype(s.dtype).itemsize for s in self.arrays.values())


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _create(group: zarr.Group, name: str, spec: ArraySpec) -> None:
    time_axis = next((i for i, d in enumerate(spec.dims) if d in ("step", "draw", "check")), None)
    chunks = [1 if d == "chain" else n for d, n in zip(spec.dims, spec.shape, strict=True)]
    if time_axis is not None:
        chunks[time_axis] = spec.stretch or min(spec.shape[time_axis], 1 << 14)
    fill = np.nan if spec.dtype.startswith("float") else 0
    group.create_array(name, shape=spec.shape, chunks=tuple(chunks), dtype=spec.dtype, fill_value=fill, dimension_names=spec.dims)


def open_samples(path: Path) -> xr.DataTree:
    """The store as a lazily read tree."""
    import xarray as xr  # with pandas, half a second that no run needs before its first draw

    return xr.open_datatree(path, engine="zarr", consolidated=False)


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of each array: of its dtype, shape and C-order bytes, read a chunk at a time."""
    group = zarr.open_group(path, mode="r")
    by_name = {}
    for name in sorted(group.array_keys()):
        array = _array(group, name)
        by_name[name] = of_blocks(array.dtype.str, array.shape, _in_order(array))
    return by_name


def _in_order(array: zarr.Array[Any]) -> Iterator[NDArray[Any]]:
    """C-order pieces: along the second axis where the first is chunked by one, else along the first."""
    if array.ndim >= 2 and array.chunks[0] == 1:
        for i in range(array.shape[0]):
            for start in range(0, array.shape[1], array.chunks[1]):
                yield np.asarray(array[i, start : start + array.chunks[1]])
    else:
        for start in range(0, array.shape[0], array.chunks[0]):
            yield np.asarray(array[start : start + array.chunks[0]])
