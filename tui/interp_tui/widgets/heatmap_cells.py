"""The cells of a heatmap: what they hold, and how a cell, the titles over them and the key to their colours are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from interp_tui.text.numbers import number

from .colour_scale import Look, Scale, ScaleStyles, digit, glyph
from .table_rows import fitted

NUMBER_FITS = 9
"""Cells a column needs for its values to be written out."""
STEPS = 5
"""Steps of the legend on either side of zero."""


@dataclass(frozen=True)
class Grid:
    """What a heatmap shows: labels, already sanitised, and values by row, None where there is none."""

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    values: Sequence[Sequence[float | None]] = ()
    scale: Scale = field(default_factory=lambda: Scale(0.0, 0.0))
    least: int = 2
    """Cells a column takes at least."""
    most: int = 12
    decimals: int | None = None
    """Decimals of the numbers written out; significant figures where it is None."""
    texts: Sequence[Sequence[str]] | None = None
    """Words to write into the cells in place of their numbers, already sanitised; the colour is still the number's."""
    marks: Sequence[Sequence[bool]] | None = None
    """Cells that carry a star, as far as a column has room for it: in bold where it has none."""

    def at(self, row: int, column: int) -> float | None:
        """The number of a cell, if there is one."""
        values = self.values
        return values[row][column] if row < len(values) and column < len(values[row]) else None

    def text(self, row: int, column: int) -> str:
        """The words of a cell, if there are any."""
        texts = self.texts
        return texts[row][column] if texts is not None and row < len(texts) and column < len(texts[row]) else ""

    def marked(self, row: int, column: int) -> bool:
        """Whether a cell carries a star."""
        marks = self.marks
        return marks is not None and row < len(marks) and column < len(marks[row]) and marks[row][column]


@dataclass(frozen=True)
class CellPainter:
    """Draws the cells of a grid in one look, each as many terminal cells wide."""

    grid: Grid
    look: Look
    width: int
    styles: ScaleStyles
    ascii: bool

    def titles(self, shown: range, cursor_column: int) -> list[tuple[str, bool]]:
        """The columns' labels over their columns, and which is the cursor's. Where they would run together, some are left out."""
        width, columns = self.width, self.grid.columns
        room = width * len(shown)
        cursor = min(max(cursor_column - shown.start, 0), len(shown) - 1)
        places: list[tuple[int, str, bool]] = []
        for offset in [cursor, *range(len(shown))]:
            label = columns[shown[offset]] if shown else ""
            text = fitted(label, width - 1).rstrip() if width > 3 else label
            end = (offset + 1) * width - (1 if width > 2 else 0)
            start = max(0, min(end - cell_len(text), room - cell_len(text)))
            if all(start >= at + cell_len(other) + 1 or start + cell_len(text) + 1 <= at for at, other, _ in places):
                places.append((start, text, offset == cursor))
        found, used = [], 0
        for start, text, here in sorted(places):
            found += [(" " * (start - used), False), (text, here)]
            used = start + cell_len(text)
        return [*found, (" " * max(0, room - used), False)]

    def cell(self, row: int, column: int, base: Style, *, here: bool) -> Segment:
        """One cell; `here` where the cursor is on it."""
        value, width, look = self.grid.at(row, column), self.width, self.look
        share = None if value is None else self.grid.scale.share(value)
        word = self.grid.text(row, column) if width > 3 else ""
        style = base
        if share is not None and look == "colour":
            style = base + self.styles.style(share)
            said = self._number(value, 3) if width >= self._number_fits else ""
        elif share is not None and width >= self._number_fits + (look != "digit"):
            said = self._number(value, 3) if look == "digit" else self._number(value, 2) + glyph(share, ascii=self.ascii)[1]
        else:
            said = digit(share) if look == "digit" else glyph(share, ascii=self.ascii)
        if word and share is not None and look != "digit":
            style = base + self.styles.style(share) if look == "colour" else base
            text = fitted(word, width - 1) + " "
        else:
            text = said.rjust(width - 1)[: width - 1] + " " if width > 2 else said[:width].rjust(width)
        if self.grid.marked(row, column):
            style += Style(bold=True)
            text = f"{text[:-1]}*" if text[-1:] == " " else text
        if here:
            style = base + Style(reverse=True, bold=True)
        return Segment(text, style)

    def legend(self, room: int, base: Style, muted: Style) -> list[Segment]:
        """What the scale's ends and its zero look like: `-1.02 ▓▓▒▒░░ 0 ░░▒▒▓▓ 1.02`."""
        scale, look = self.grid.scale, self.look
        steps = STEPS if room >= 44 else 2

        def swatch(share: float) -> Segment:
            if look == "colour":
                return Segment("  ", base + self.styles.style(share))
            return Segment(digit(share) if look == "digit" else glyph(share, ascii=self.ascii), base)

        parts: list[Segment] = []
        if scale.low < 0:
            parts += [Segment(f"{self._number(scale.low, 3)} ", muted), *(swatch(-step / steps) for step in range(steps, 0, -1))]
        parts.append(Segment(" 0 " if scale.low < 0 else "0 ", muted))
        if scale.high > 0:
            parts += [*(swatch(step / steps) for step in range(1, steps + 1)), Segment(f" {self._number(scale.high, 3)}", muted)]
        return parts

    @property
    def _number_fits(self) -> int:
        """Cells from which a column has its values written out: with fixed decimals, a sign, a digit, the point and a space beside them."""
        return NUMBER_FITS if self.grid.decimals is None else min(NUMBER_FITS, self.grid.decimals + 4)

    def _number(self, value: float | None, digits: int) -> str:
        decimals = self.grid.decimals
        return number(value, digits) if decimals is None or value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"  # never -0.00
