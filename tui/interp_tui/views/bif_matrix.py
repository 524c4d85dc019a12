"""A finished influence run: the matrix between sequences, their texts, and how tokens of one move with another. Headless; reads files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from interp_tui.runs.arrays import read_array, read_tokens
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.token_strip import Token
from interp_tui_engine.numbers import as_finite
from interp_tui_engine.results.bif import BIFResult

SHARE = 0.995
"""Of the matrix's cells off the diagonal that lie inside the colour scale."""


@dataclass(frozen=True)
class Influences:
    """Rows are sequences of all data sets, one after another."""

    folder: Path
    values: list[list[float | None]]
    scale: Scale
    labels: list[str]
    texts: list[list[str]]
    """Tokens of each sequence, sanitised."""
    uttered: list[list[str]]
    """The same as the model cut them."""
    by_token: bool
    errors: list[list[float | None]] | None = None
    clear: list[list[bool]] | None = None
    """Which pairs exceed what exchanged chains reach."""
    first_order: list[list[float | None]] | None = None

    @staticmethod
    def read(folder: Path, result: BIFResult) -> Influences | None:
        """What the run left; None before it is there."""
        matrix, ids = read_array(folder / "matrix.zarr", "influences"), read_array(folder / "bif.zarr", "input_ids")
        if matrix is None or ids is None or matrix.ndim != 2 or not result.observables or not result.rows:
            return None
        known = read_tokens(folder)
        values = [[as_finite(float(v)) for v in row] for row in matrix.tolist()]
        owners = [
            clean(name, limit=14)
            for name, count in zip(result.observables, result.rows, strict=False)
            for _ in range(min(count, len(values)))
        ]
        labels = [f"{owner} {index}" for index, owner in enumerate(owners[: len(values)])]
        uttered = [[known.get(int(i), f"<{int(i)}>") for i in row] for row in ids.tolist()]
        texts = [[clean(token, limit=40) for token in row] for row in uttered]
        sizes = sorted(abs(v) for i, row in enumerate(values) for j, v in enumerate(row) if i != j and v is not None)
        reach = sizes[min(len(sizes) - 1, int(SHARE * len(sizes)))] if sizes else 0.0
        influences = Influences(folder, values, Scale(-reach, reach), labels, texts, uttered, len(result.shape) == 4)
        clear = read_array(folder / "matrix.zarr", "clear")
        marks = None if clear is None or clear.shape != matrix.shape else [[bool(v) for v in row] for row in clear.tolist()]
        return replace(influences, errors=_table(folder, "std_error"), clear=marks, first_order=_table(folder, "first_order"))

    def certainty(self, row_1: int, row_2: int) -> tuple[float | None, bool | None, float | None]:
        """A pair's standard error, whether it is clear of the floor, and its first order; None for what is not known."""
        try:
            error = None if self.errors is None else self.errors[row_1][row_2]
            exact = None if self.first_order is None else self.first_order[row_1][row_2]
            return error, None if self.clear is None else self.clear[row_1][row_2], exact
        except IndexError:
            return None, None, None

    def text(self, row: int) -> str:
        """A sequence as one line."""
        return "".join(self.texts[row]) if row < len(self.texts) else ""

    def pairs(self, result: BIFResult) -> list[tuple[int, int]]:
        """The run's strongest pairs."""
        rows = ((pair.row_1, pair.row_2) for pair in result.top_pairs)
        return [
            (row_1, row_2)
            for row_1, row_2 in rows
            if row_1 is not None and row_2 is not None and 0 <= min(row_1, row_2) <= max(row_1, row_2) < len(self.labels)
        ]

    def others(self, row: int) -> list[int]:
        """The other sequences, those that move most with `row` (or against it) first."""
        mine = self.values[row]
        return sorted((other for other in range(len(mine)) if other != row), key=lambda other: -abs(mine[other] or 0.0))

    def matching(self, words: str) -> list[int]:
        """Sequences whose label or text holds the words, whatever their case."""
        wanted = words.casefold()
        return [row for row in range(len(self.labels)) if wanted in self.labels[row].casefold() or wanted in self.text(row).casefold()]

    def strip(self, row: int, other: int) -> tuple[list[Token], Scale]:
        """The tokens of `row`, each with its mean influence on those of `other`; without numbers where sequences were compared."""
        texts, uttered = (self.texts[row], self.uttered[row]) if row < len(self.texts) else ([], [])
        stored = read_array(self.folder / "bif.zarr", "influences", row, other) if self.by_token else None
        if stored is None:
            return [Token(text, None, token) for text, token in zip(texts, uttered, strict=True)], Scale(0.0, 0.0)
        means: list[float | None] = []
        for values in stored.tolist():
            there = [v for v in map(as_finite, values) if v is not None]
            means.append(sum(there) / len(there) if there else None)
        return [Token(text, value, token) for text, value, token in zip(texts, [None, *means], uttered, strict=False)], Scale.of(means)


def _table(folder: Path, name: str) -> list[list[float | None]] | None:
    values = read_array(folder / "matrix.zarr", name)
    return None if values is None or values.ndim != 2 else [[as_finite(float(v)) for v in row] for row in values.tolist()]
