"""The token ids that each step saw, as devinterp's store has them, looked up when they are read: the store keeps row numbers only."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

NAME, ROWS = "sampling_input_ids_micro", "sampling_rows_micro"
DIMS = ("chain", "step", "batch_sampling", "token")


def with_input_ids(tree: xr.DataTree, rows: NDArray[np.int64]) -> xr.DataTree:
    """The store with `sampling_input_ids_micro (chain, step, batch_sampling, token)`: rows of the sampling data `rows (n, t+1)`.

    Nothing is read or made until values are asked for; of `rows` a reference is kept.
    """
    chains = tree.dataset.sizes["chain"]
    lazy = indexing.LazilyIndexedArray(_TokensOfSteps(tree.dataset[ROWS], rows, chains))
    return tree.assign({NAME: xr.Variable(DIMS, lazy)})


@final
class _TokensOfSteps(BackendArray):
    """rows[number of the row that a step saw], for every chain: the numbers are kept once where all chains see the same."""

    def __init__(self, numbers: xr.DataArray, rows: NDArray[np.int64], chains: int) -> None:
        self._numbers, self._rows = numbers, rows
        self._shared = "chain" not in numbers.dims
        self.shape = (chains, *numbers.shape[-2:], rows.shape[1])
        self.dtype = np.dtype(np.int64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.int64]:
        chain, step, batch, token = key
        numbers = self._numbers[(step, batch) if self._shared else (chain, step, batch)].values
        tokens: NDArray[np.int64] = self._rows[numbers][..., token]
        if not self._shared or not isinstance(chain, slice):
            return tokens
        return np.broadcast_to(tokens, (len(range(*chain.indices(self.shape[0]))), *tokens.shape)).copy()
