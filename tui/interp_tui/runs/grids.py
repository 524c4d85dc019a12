"""What a result holds by row and column, so that one run's can be taken from another's. Headless.

A grid is known by its shape: a list for each of the result's layers, or a table of tables of numbers. Its rows and columns carry the
labels that the result gives: layers, tokens, heads, or the tables' own keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interp_tui_engine.numbers import as_finite as finite

from ..text.sanitise import clean

Values = list[list[float | None]]
MOST = 200
"""Rows and columns that a grid may have; a larger one is no picture."""


@dataclass(frozen=True)
class LabelledGrid:
    """Numbers by row and column, None where there is none; labels are sanitised."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]


def read(result: Mapping[str, Any]) -> dict[str, LabelledGrid]:
    """The grids in a result by name, such as `recovery.resid_post`."""
    by_name: dict[str, LabelledGrid] = {}
    for name, value in result.items():
        if name == "uncertainty":
            continue
        if (grid := _grid(result, value)) is not None:
            by_name[name] = grid
        elif isinstance(value, Mapping):
            inner = {f"{name}.{clean(str(key), limit=30)}": _grid(result, part) for key, part in value.items() if isinstance(part, list)}
            by_name |= {key: grid for key, grid in inner.items() if grid is not None}
    return by_name


def _grid(result: Mapping[str, Any], value: Any) -> LabelledGrid | None:
    if isinstance(value, Mapping):
        return _of_tables(value)
    layers = result.get("layers")
    if not isinstance(value, list) or not isinstance(layers, list) or len(value) != len(layers) or not value:
        return None
    if not all(isinstance(row, list) and len(row) == len(value[0]) and row for row in value) or len(value) > MOST or len(value[0]) > MOST:
        return None
    values = tuple(tuple(finite(cell) for cell in row) for row in value)
    if not any(cell is not None for row in values for cell in row):
        return None
    return LabelledGrid(tuple(f"L{clean(str(layer), limit=6)}" for layer in layers), _column_labels(result, len(value[0])), values)


def _column_labels(result: Mapping[str, Any], count: int) -> tuple[str, ...]:
    tokens = result.get("tokens")
    if isinstance(tokens, list) and len(tokens) == count:
        return tuple(clean(str(token), limit=24).strip() or "␣" for token in tokens)
    return tuple(f"{'H' if result.get('heads') == count else ''}{place}" for place in range(count))


def _of_tables(value: Mapping[str, Any]) -> LabelledGrid | None:
    """A table of tables of numbers, all with the same keys."""
    rows = [row for row in value.values() if isinstance(row, Mapping)]
    if not rows or len(rows) != len(value) or len(rows) > MOST or len(rows[0]) > MOST:
        return None
    keys = list(rows[0])
    if any(list(row) != keys for row in rows) or not keys:
        return None
    cells = [cell for row in rows for cell in row.values()]
    if any(cell is not None and finite(cell) is None for cell in cells):
        return None
    values = tuple(tuple(finite(cell) for cell in row.values()) for row in rows)
    labels = [tuple(clean(str(key), limit=30) for key in names) for names in (value, keys)]
    return LabelledGrid(labels[0], labels[1], values)


def difference(left: LabelledGrid, right: LabelledGrid) -> LabelledGrid | None:
    """Right less left, over the rows and columns that both have; None where they share none.

    Columns of the same number are taken in their order where their labels differ (tokens of two prompts), and named after both.
    """
    rows = [(label, left.rows.index(label), right.rows.index(label)) for label in left.rows if label in right.rows]
    columns = _shared(left.columns, right.columns)
    if not rows or not columns:
        return None
    values = tuple(tuple(_less(right.values[there][b], left.values[here][a]) for _, a, b in columns) for _, here, there in rows)
    return LabelledGrid(tuple(label for label, _, _ in rows), tuple(label for label, _, _ in columns), values)


def _shared(left: Sequence[str], right: Sequence[str]) -> list[tuple[str, int, int]]:
    if len(left) == len(right):
        return [(a if a == b else f"{a}|{b}", place, place) for place, (a, b) in enumerate(zip(left, right, strict=True))]
    seen: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for place, label in enumerate(right):  # the second "the" of one goes with the second of the other
        places[label, seen.setdefault(label, 0)] = place
        seen[label] += 1
    names, again = [], dict[str, int]()
    for place, label in enumerate(left):
        there = places.get((label, again.setdefault(label, 0)))
        again[label] += 1
        if there is not None:
            names.append((label, place, there))
    return names


def _less(a: float | None, b: float | None) -> float | None:
    return a - b if a is not None and b is not None else None
