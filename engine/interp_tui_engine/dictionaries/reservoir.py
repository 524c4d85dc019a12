"""A uniform sample of bounded size from a stream of sparse rows of unknown length."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64


class Reservoir:
    """Vitter 1985, algorithm R: after n rows each is kept with probability size/n. Which ones follows from the seed and their order.

    `size` None keeps all rows. Memory: the rows kept.
    """

    def __init__(self, size: int | None, seed: int) -> None:
        self.seen = 0
        self._size = size
        self._random = random.Random(seed)
        self._rows: list[tuple[Int32[np.ndarray, " n"], Float64[np.ndarray, " n"]]] = []

    def add(self, starts: Int64[np.ndarray, " r1"], columns: Int32[np.ndarray, " n"], values: Float64[np.ndarray, " n"]) -> None:
        """Offer rows: row i has `values[starts[i]:starts[i+1]]` in the columns of the same places."""
        for start, stop in pairwise(starts.tolist()):
            self.seen += 1
            if self._size is None or len(self._rows) < self._size:
                place = len(self._rows)
                self._rows.append((columns[start:stop], values[start:stop]))
            elif (place := self._random.randrange(self.seen)) >= self._size:
                continue
            self._rows[place] = (columns[start:stop].copy(), values[start:stop].copy())  # not a view, which would keep the block

    def matrix(self, width: int) -> Float[np.ndarray, "rows width"]:
        """The rows kept, float32, zeros where they name no value."""
        matrix = np.zeros((len(self._rows), width), dtype=np.float32)
        for row, (columns, values) in enumerate(self._rows):
            matrix[row, columns] = values
        return matrix
