"""What a table is made of: columns and the widths they get, cells, and rows that are made as they are looked at.

Columns have fixed widths that follow from the table's width alone, so that nothing moves when data arrive; where there is little room,
columns with the highest `drop` go first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from rich.cells import cell_len, set_cell_size

GAP = 2
"""Cells between two columns."""


@dataclass(frozen=True)
class Column:
    """One column: its least width, its share of what room is left, and up to which width."""

    title: str
    width: int
    grow: int = 0
    most: int = 200
    right: bool = False
    drop: int = 0


@dataclass(frozen=True)
class Cell:
    """Text, already sanitised, and the theme variable it is drawn in; 'foreground' unless said."""

    text: str
    colour: str = "foreground"


@dataclass(frozen=True)
class Row:
    """One line of the table; `key` is what it is called in messages. Rows are compared to find what must be drawn again."""

    key: str
    cells: tuple[Cell, ...]


class MadeRows(Sequence[Row]):
    """Rows that are made one by one, as they are looked at."""

    def __init__(self, keys: Sequence[str], make: Callable[[int], Row]) -> None:
        self.keys, self.make = keys, make

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self.make(place) for place in range(len(self))[index]]
        return self.make(range(len(self))[index])


def layout(columns: Sequence[Column], width: int) -> list[int]:
    """The width of each column in a table `width` cells wide; 0 where the column is left out."""
    widths = [column.width for column in columns]

    def taken() -> int:
        shown = [w for w in widths if w]
        return sum(shown) + GAP * (len(shown) - 1)

    for index in sorted((i for i, c in enumerate(columns) if c.drop), key=lambda i: -columns[i].drop):
        if taken() <= width:
            break
        widths[index] = 0
    spare = width - taken()
    while spare > 0:
        open_columns = [i for i, c in enumerate(columns) if widths[i] and c.grow and widths[i] < c.most]
        if not open_columns:
            break
        share = sum(columns[i].grow for i in open_columns)
        before = spare
        for i in open_columns:
            extra = min(before * columns[i].grow // share, columns[i].most - widths[i], spare)
            widths[i] += extra
            spare -= extra
        if spare == before:
            widths[open_columns[0]] += 1
            spare -= 1
    return widths


def fitted(text: str, room: int, *, right: bool = False) -> str:
    """The text in so many cells, cut where it is longer."""
    length = cell_len(text)
    if length > room:
        return set_cell_size(text, room - 1) + "…"
    return " " * (room - length) + text if right else text + " " * (room - length)
