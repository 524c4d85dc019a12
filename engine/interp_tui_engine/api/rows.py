"""Token rows in whatever form a caller has them, and the stores that sampling them wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import xarray as xr
from torch import Tensor

from ..data.rows import TokenRows, rows_from_dataset, rows_of_items
from ..errors import UserError
from ..samplers.chains.step_tokens import ROWS as STEP_ROWS
from ..samplers.chains.step_tokens import with_input_ids
from ..samplers.chains.store import open_samples as store_at

if TYPE_CHECKING:
    from datasets import Dataset

Rows: TypeAlias = "Dataset | TokenRows | Tensor | Sequence[Any]"
"""Token rows (n, t+1): a Hugging Face Dataset with `input_ids`, what `load_rows` returns, an integer tensor, or anything with a length and
items (a list, a torch Dataset) that are rows of ids or mappings with `input_ids`."""


def open_samples(path: str | Path, dataset: Rows | None = None) -> xr.DataTree:
    """A store that `sample`, a run or devinterp wrote, read lazily. dataset: the sampling data, for `sampling_input_ids_micro`.

    Raises UserError where there is no store, or the data has fewer rows than the store saw.
    """
    if not (Path(path) / "zarr.json").exists():
        raise UserError(f"{path} is no store of samples", "give the folder that sample(output_path=…) or a run made: samples.zarr")
    tree = store_at(Path(path))
    if dataset is None or STEP_ROWS not in tree.dataset:
        return tree
    ids, needed = token_ids(dataset, "dataset"), int(tree.dataset[STEP_ROWS].max()) + 1
    if len(ids) < needed or ids.shape[1] != tree.dataset.sizes["token_pos"] + 1:
        seen = f"the store saw row {needed - 1}, of {tree.dataset.sizes['token_pos'] + 1}"
        what = f"the data has {len(ids)} rows of {ids.shape[1]} tokens; {seen}"
        raise UserError(what, "give the data that was sampled, in the same order")
    return with_input_ids(tree, ids.cpu().numpy())


def token_ids(rows: Rows, name: str) -> Tensor:
    """Token rows (n, t+1) of whatever form. Raises UserError, which names them, for what is none."""
    if isinstance(rows, Tensor):
        if rows.ndim != 2 or rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
            raise UserError(
                f"{name!r} is a tensor of {rows.dtype} and shape {tuple(rows.shape)}", "give token ids: integers, rows × tokens"
            )
        return rows.long()
    if isinstance(rows, TokenRows):
        return rows.ids.long()
    if hasattr(rows, "column_names"):
        return rows_from_dataset(rows, name=name).ids.long()
    return rows_of_items(rows, name=name).ids.long()
