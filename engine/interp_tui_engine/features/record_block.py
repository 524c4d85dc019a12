"""Record rows in blocks of columns, sparse; and a block as it fills row by row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64

from . import jsonl
from .jsonl import RowError

LARGEST = 1e30
"""Values beyond this are a mistake: their squares and sums could not be held."""


class RowBlock(NamedTuple):
    """Some rows, sparse: row i has `features[starts[i]:starts[i+1]]` with `values` there; features are numbered as the reader met them."""

    lines: Int64[np.ndarray, " rows"]
    scores: Float64[np.ndarray, " rows"]
    starts: Int64[np.ndarray, " rows_1"]
    features: Int32[np.ndarray, " entries"]
    values: Float64[np.ndarray, " entries"]
    prompt_ids: list[str]
    texts: list[str]
    uniform: bool
    """Every row names the same features in the same order."""
    keys: Int64[np.ndarray, " rows"]
    """Equal for rows that say the same prompt, text and position: such a pair is a mistake."""
    tokens: list[str]
    """The token that each row is about, of rows that say it (`metadata.token`); empty of others."""
    groups: Int64[np.ndarray, " rows"]
    """Equal for rows of one text (of one prompt, where there is no text): they belong on one side of a split."""


class Building:
    """A block as it fills: plain lists, which are quicker to append to than arrays."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.scores: list[float] = []
        self.patterns: list[list[int]] = []
        self.values: list[Any] = []
        self.prompt_ids: list[str] = []
        self.texts: list[str] = []
        self.keys: list[int] = []
        self.groups: list[int] = []
        self.tokens: list[str] = []

    def done(self, path: Path, names: Sequence[str]) -> RowBlock:
        """The block of what was added."""
        first = self.patterns[0]
        uniform = all(pattern is first for pattern in self.patterns)
        starts = np.zeros(len(self.lines) + 1, dtype=np.int64)
        starts[1:] = np.cumsum([len(pattern) for pattern in self.patterns])
        if uniform:
            features = np.tile(np.array(first, dtype=np.int32), len(self.lines))
        else:
            features = np.fromiter(chain.from_iterable(self.patterns), dtype=np.int32, count=int(starts[-1]))
        kinds = set(map(type, self.values))
        numeric = kinds <= {float, int}
        values = np.zeros(0)
        try:
            values = np.array(self.values, dtype=np.float64) if numeric else values
        except OverflowError:  # a whole number beyond all floats
            numeric = False
        if not numeric or not (np.abs(values) <= LARGEST).all():  # NaN is not less than anything
            self._complain(path, names, starts, features)
        return RowBlock(
            np.array(self.lines, dtype=np.int64),
            np.array(self.scores, dtype=np.float64),
            starts,
            features,
            values,
            self.prompt_ids,
            self.texts,
            uniform,
            np.array(self.keys, dtype=np.int64),
            self.tokens,
            np.array(self.groups, dtype=np.int64),
        )

    def _complain(
        self, path: Path, names: Sequence[str], starts: Int64[np.ndarray, " rows_1"], features: Int32[np.ndarray, " entries"]
    ) -> None:
        for at, value in enumerate(self.values):
            row = int(np.searchsorted(starts, at, side="right")) - 1
            field = f"features[{names[features[at]]!r}]"
            bounded(path, self.lines[row], field, jsonl.finite_number(path, self.lines[row], field, value))
        raise AssertionError("a value was refused, and then none was")


def bounded(path: Path, line: int, field: str, value: float) -> float:
    """The value. Raises RowError where it is larger than LARGEST in size."""
    if abs(value) > LARGEST:
        raise RowError(path, line, field, f"is {value:.3g}: larger than {LARGEST:.0e} in size")
    return value
