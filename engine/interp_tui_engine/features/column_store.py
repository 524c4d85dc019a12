"""A matrix of rows × features that arrives in rows and is read in columns: in memory while it is small, in a scratch file beyond that.

Values are kept as float32 offsets from a feature's mean in its first block wherever that mean is large beside the spread: a float32 of
1e6 + small would lose the small part, and with it every rank and correlation. What a row does not name is `implicit`: 0 less that offset.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Int32

from .record_block import RowBlock

LARGE_OFFSET = 8.0
"""Means of so many standard deviations are taken off before rounding to float32."""


class FeatureColumn(NamedTuple):
    """One feature: its value at `rows`, and `implicit` at all others. True values are these plus `offset`."""

    rows: Int32[np.ndarray, " entries"]
    values: Float32[np.ndarray, " entries"]
    implicit: float
    offset: float


class _Stored(NamedTuple):
    """One array in the scratch file."""

    path: Path
    at: int
    dtype: np.dtype[Any]

    def part(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        return np.fromfile(self.path, self.dtype, stop - start, offset=self.at + start * self.dtype.itemsize)


_Kept: TypeAlias = "np.ndarray[Any, Any] | _Stored"


class _Block(NamedTuple):
    """Rows `first` and on, sorted by feature: feature f has entries starts[f]:starts[f+1]. `rows` is None where every row has them all."""

    first: int
    length: int
    starts: np.ndarray[Any, Any]
    rows: _Kept | None
    values: _Kept


class ColumnStore:
    """Collects blocks; gives columns. `budget` bounds the bytes held in memory, `scratch` is the file for the rest."""

    def __init__(self, scratch: Path, budget: int) -> None:
        self.scratch = scratch
        self.budget = budget
        self.rows = 0
        self.held = 0
        self._blocks: list[_Block] = []
        self._file: IO[bytes] | None = None
        self._offsets = np.zeros(0)

    def add(self, block: RowBlock) -> None:
        """Take in rows, after all that came before."""
        count = len(block.scores)
        width = int(block.features.max()) + 1 if len(block.features) else 0
        counts = np.bincount(block.features, minlength=width)
        starts = np.concatenate(([0], np.cumsum(counts)))
        rows = None
        if block.uniform:  # then sorting by feature is turning the block over
            pattern = np.argsort(block.features[: len(block.features) // count])
            values = block.values.reshape(count, -1).T[pattern].ravel()
        else:
            order = np.argsort(block.features, kind="stable")
            values = block.values[order]
            rows = np.repeat(np.arange(count, dtype=np.int32), np.diff(block.starts))[order]
        self._settle_offsets(starts, values, count)
        values = (values - np.repeat(self._offsets[:width], counts)).astype(np.float32)
        self._blocks.append(_Block(self.rows, count, starts, self._keep(rows) if rows is not None else None, self._keep(values)))
        self.rows += count

    def column(self, feature: int) -> FeatureColumn:
        """One feature's entries, by row."""
        rows, values = [], []
        for block in self._blocks:
            if feature + 1 >= len(block.starts):
                continue
            start, stop = int(block.starts[feature]), int(block.starts[feature + 1])
            if start == stop:
                continue
            here = np.arange(block.length, dtype=np.int32) if block.rows is None else _part(block.rows, start, stop)
            rows.append(here + np.int32(block.first))
            values.append(_part(block.values, start, stop))
        offset = float(self._offsets[feature])
        implicit = float(np.float32(-offset))
        if not rows:
            return FeatureColumn(np.zeros(0, np.int32), np.zeros(0, np.float32), implicit, offset)
        return FeatureColumn(np.concatenate(rows), np.concatenate(values), implicit, offset)

    def close(self) -> None:
        """Let go of the scratch file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.scratch.unlink(missing_ok=True)

    def _settle_offsets(self, starts: np.ndarray[Any, Any], values: np.ndarray[Any, Any], count: int) -> None:
        """Offsets of the features that are met for the first time; those that a row lacks stay at 0, so that absence stays exact."""
        settled, width = len(self._offsets), len(starts) - 1
        if width <= settled:
            return
        offsets = np.zeros(width - settled)
        for index in range(settled, width):
            start, stop = starts[index], starts[index + 1]
            if stop - start == count:
                mean, spread = values[start:stop].mean(), values[start:stop].std()
                if abs(mean) > LARGE_OFFSET * spread:
                    offsets[index - settled] = mean
        self._offsets = np.concatenate((self._offsets, offsets))

    def _keep(self, array: np.ndarray[Any, Any]) -> _Kept:
        if self.held + array.nbytes <= self.budget:
            self.held += array.nbytes
            return array
        if self._file is None:
            self.scratch.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.scratch.open("wb")
        at = self._file.tell()
        array.tofile(self._file)
        self._file.flush()
        return _Stored(self.scratch, at, array.dtype)


def _part(kept: _Kept, start: int, stop: int) -> np.ndarray[Any, Any]:
    return kept.part(start, stop) if isinstance(kept, _Stored) else kept[start:stop]
