"""Susceptibilities of every token as a tree of datasets, laid out as devinterp lays them out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import NDArray

PerToken = Float[NDArray[np.float64], "row position"]


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
        name: (dim, np.concatenate(values))
        for name, values in zip(("dataset_id", "batch", position), zip(*parts, strict=True), strict=True)
    }
