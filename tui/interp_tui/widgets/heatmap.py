"""A grid of numbers under a cursor, as colours, glyphs or digits: restriction by data set, layer by token, sequence by sequence.

Drawn line by line, so that only what is visible costs anything. The view scrolls with the cursor; labels stay in sight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from interp_tui.terminal.guard import Guarded
from interp_tui.text.numbers import number

from .colour_scale import LOOKS, Look, Scale, ScaleStyles, digit, glyph

NUMBER_FITS = 9
"""Cells a column needs for its values to be written out."""
MOST_LABEL = 22
STEPS = 5
"""Steps of the legend on either side of zero."""
LEGEND_FROM = 5
"""Lines a heatmap has at least to have a legend under it."""
TALLEST = 5
"""Lines that a row takes at most, where there is room for all rows at that height."""


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


class Heatmap(Guarded, Widget, can_focus=True):
    """Shows a `Grid`; arrows move the cursor, which messages and labels follow."""

    DEFAULT_CSS = """
    Heatmap { height: 1fr; width: 1fr; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1,0)", "Move", key_display="←↑↓→", id="heatmap.up"),
        Binding("down,j", "move(1,0)", "Down", show=False, id="heatmap.down"),
        Binding("left", "move(0,-1)", "Left", show=False, id="heatmap.left"),
        Binding("right", "move(0,1)", "Right", show=False, id="heatmap.right"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="heatmap.pageup"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="heatmap.pagedown"),
        Binding("home", "move(0,-1000000)", "First column", show=False, id="heatmap.home"),
        Binding("end", "move(0,1000000)", "Last column", show=False, id="heatmap.end"),
        Binding("g", "look", "Colour/glyph/digit", id="heatmap.look"),
        Binding("enter", "select", "Open", show=False, id="heatmap.open"),
    ]

    class Moved(Message):
        """The cursor is on another cell."""

        def __init__(self, heatmap: Heatmap) -> None:
            super().__init__()
            self.heatmap, self.row, self.column = heatmap, heatmap.row, heatmap.column

        @property
        def control(self) -> Heatmap:
            return self.heatmap

    class Selected(Message):
        """Enter, or a click on the cell under the cursor."""

        def __init__(self, heatmap: Heatmap) -> None:
            super().__init__()
            self.heatmap, self.row, self.column = heatmap, heatmap.row, heatmap.column

        @property
        def control(self) -> Heatmap:
            return self.heatmap

    def __init__(self, *, corner: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self.grid = Grid()
        self.corner = corner
        self.row = self.column = 0
        self.look: Look = "colour"
        self._top = self._left = 0
        self._followed = Size(0, 0)
        """The size that the scrolling was last set for."""
        self._palette: ScaleStyles | None = None

    def show(self, grid: Grid) -> None:
        """Replace what is shown; the cursor stays on the row and column of the same label, else where it is."""
        old, self.grid = self.grid, grid
        self.row = _kept(old.rows, grid.rows, self.row)
        self.column = _kept(old.columns, grid.columns, self.column)
        if old != grid:
            self._follow()
            self.refresh()

    def set_look(self, look: Look) -> None:
        """Draw cells as colours, glyphs or digits."""
        if look != self.look:
            self.look = look
            self._follow()
            self.refresh()

    def move_to(self, row: int, column: int) -> None:
        """Put the cursor on a cell, or on the nearest there is."""
        row = max(0, min(row, len(self.grid.rows) - 1))
        column = max(0, min(column, len(self.grid.columns) - 1))
        if (row, column) != (self.row, self.column):
            self.row, self.column = row, column
            self._follow()
            self.refresh()
            self.post_message(self.Moved(self))

    @property
    def value(self) -> float | None:
        """The number under the cursor."""
        return self._at(self.row, self.column)

    def _at(self, row: int, column: int) -> float | None:
        values = self.grid.values
        return values[row][column] if row < len(values) and column < len(values[row]) else None

    def copied(self) -> str:
        """The cell under the cursor: its row, its column and its whole number."""
        if self.row >= len(self.grid.rows) or self.column >= len(self.grid.columns):
            return ""
        value = self.value
        return f"{self.grid.rows[self.row]}\t{self.grid.columns[self.column]}\t{'' if value is None else repr(value)}"

    # -- places

    @property
    def _label(self) -> int:
        return min(MOST_LABEL, max([cell_len(self.corner), *(cell_len(label) for label in self.grid.rows)], default=0))

    @property
    def cell_width(self) -> int:
        """Cells a column takes: as many as its label and the room allow."""
        columns, grid = max(1, len(self.grid.columns)), self.grid
        wanted = max([grid.least, *(cell_len(label) + 1 for label in grid.columns)])
        room = (self.size.width - self._label - 2) // columns
        return max(grid.least, min(grid.most, max(wanted, NUMBER_FITS), room))

    @property
    def _number_fits(self) -> int:
        """Cells from which a column has its values written out: with fixed decimals, a sign, a digit, the point and a space beside them."""
        return NUMBER_FITS if self.grid.decimals is None else min(NUMBER_FITS, self.grid.decimals + 4)

    @property
    def _shown_columns(self) -> int:
        return max(1, (self.size.width - self._label - 2) // self.cell_width)

    @property
    def _legend(self) -> bool:
        """Whether there is room, and reason, for a line that says what the colours, glyphs or digits stand for."""
        scale = self.grid.scale
        return self.size.height >= LEGEND_FROM and bool(self.grid.rows) and (scale.high > 0 or scale.low < 0)

    @property
    def row_height(self) -> int:
        """Lines a row takes: more than one where all rows fit so. Only colours fill lines, where signs would leave blanks."""
        if self._drawn_as != "colour":
            return 1
        room = self.size.height - (2 if self._legend else 1)
        return max(1, min(TALLEST, room // max(1, len(self.grid.rows))))

    @property
    def _shown_rows(self) -> int:
        return max(1, (self.size.height - (2 if self._legend else 1)) // self.row_height)

    def _follow(self) -> None:
        if self._followed != self.size:  # where a smaller one had scrolled to says nothing about this one
            self._top = self._left = 0
        self._followed = self.size
        self._top = _scrolled(self._top, self.row, self._shown_rows, len(self.grid.rows))
        self._left = _scrolled(self._left, self.column, self._shown_columns, len(self.grid.columns))

    # -- keys

    def action_move(self, down: int, right: int) -> None:
        self.move_to(self.row + down, self.column + right)

    def action_page(self, by: int) -> None:
        self.move_to(self.row + by * self._shown_rows, self.column)

    def action_look(self) -> None:
        self.set_look(LOOKS[(LOOKS.index(self.look) + 1) % len(LOOKS)])

    def action_select(self) -> None:
        if self.grid.rows and self.grid.columns:
            self.post_message(self.Selected(self))

    def on_click(self, event: events.Click) -> None:
        row = self._top + (event.y - 1) // self.row_height
        column = self._left + (event.x - self._label - 1) // self.cell_width
        if event.y >= 1 and event.x > self._label and row < len(self.grid.rows) and column < len(self.grid.columns):
            if (row, column) == (self.row, self.column):
                self.action_select()
            self.move_to(row, column)

    def on_mouse_scroll_down(self) -> None:
        self.move_to(self.row + 3, self.column)

    def on_mouse_scroll_up(self) -> None:
        self.move_to(self.row - 3, self.column)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette = None

    # -- drawing

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.size.width
        if self._followed != self.size:  # drawn before the event that tells of the new size
            self._follow()
        strong = base + Style(color=_named(self.app.theme_variables, "accent"), bold=True)
        muted = base + Style(color=_named(self.app.theme_variables, "muted"))
        shown = range(self._left, min(self._left + self._shown_columns, len(self.grid.columns)))
        if y == 0:
            segments = [Segment(_fit(self.corner, self._label) + ("‹" if self._left else " "), muted)]
            segments += [Segment(text, strong if here else muted) for text, here in self._titles(shown)]
            segments.append(Segment("›" if shown.stop < len(self.grid.columns) else " ", muted))
            return Strip(segments).adjust_cell_length(width, base)
        height = self.row_height
        row, line = self._top + (y - 1) // height, (y - 1) % height
        if self._legend and y == 1 + height * min(self._shown_rows, len(self.grid.rows)):
            segments = [Segment(_fit("", self._label) + " ", base), *self._key(base, muted)]
            return Strip(segments).adjust_cell_length(width, base)
        if row >= len(self.grid.rows) or y > height * self._shown_rows:
            return Strip.blank(width, base)
        written = line == (height - 1) // 2  # a tall row has its label and numbers in the middle
        segments = [Segment(_fit(self.grid.rows[row] if written else "", self._label) + " ", strong if row == self.row else muted)]
        cells = [self._cell(row, column, base) for column in shown]
        segments += cells if written else [Segment(" " * cell_len(cell.text), cell.style) for cell in cells]
        return Strip(segments).adjust_cell_length(width, base)

    def _titles(self, shown: range) -> list[tuple[str, bool]]:
        """The columns' labels over their columns, and which is the cursor's. Where they would run together, some are left out."""
        width, columns = self.cell_width, self.grid.columns
        room = width * len(shown)
        cursor = min(max(self.column - self._left, 0), len(shown) - 1)
        places: list[tuple[int, str, bool]] = []
        for offset in [cursor, *range(len(shown))]:
            label = columns[shown[offset]] if shown else ""
            text = _fit(label, width - 1).rstrip() if width > 3 else label
            end = (offset + 1) * width - (1 if width > 2 else 0)
            start = max(0, min(end - cell_len(text), room - cell_len(text)))
            if all(start >= at + cell_len(other) + 1 or start + cell_len(text) + 1 <= at for at, other, _ in places):
                places.append((start, text, offset == cursor))
        found, used = [], 0
        for start, text, here in sorted(places):
            found += [(" " * (start - used), False), (text, here)]
            used = start + cell_len(text)
        return [*found, (" " * max(0, room - used), False)]

    def _cell(self, row: int, column: int, base: Style) -> Segment:
        value, width = self._at(row, column), self.cell_width
        share = None if value is None else self.grid.scale.share(value)
        texts = self.grid.texts
        word = texts[row][column] if texts is not None and row < len(texts) and column < len(texts[row]) and width > 3 else ""
        look = self._drawn_as
        style = base
        if share is not None and look == "colour":
            style = base + self._styles.style(share)
            said = self._number(value, 3) if width >= self._number_fits else ""
        elif share is not None and width >= self._number_fits + (look != "digit"):
            said = self._number(value, 3) if look == "digit" else self._number(value, 2) + glyph(share, ascii=self._ascii)[1]
        else:
            said = digit(share) if look == "digit" else glyph(share, ascii=self._ascii)
        if word and share is not None and look != "digit":
            style = base + self._styles.style(share) if look == "colour" else base
            text = _fit(word, width - 1) + " "
        else:
            text = said.rjust(width - 1)[: width - 1] + " " if width > 2 else said[:width].rjust(width)
        if self._marked(row, column):
            style += Style(bold=True)
            text = f"{text[:-1]}*" if text[-1:] == " " else text
        if row == self.row and column == self.column:
            style = base + Style(reverse=True, bold=True)
        return Segment(text, style)

    def _marked(self, row: int, column: int) -> bool:
        marks = self.grid.marks
        return marks is not None and row < len(marks) and column < len(marks[row]) and marks[row][column]

    @property
    def _drawn_as(self) -> Look:
        """The look as chosen; where the theme has no colours to tell values by, digits in their place."""
        return "digit" if self.look == "colour" and not self._styles.coloured else self.look

    @property
    def _styles(self) -> ScaleStyles:
        """The colours of the theme that is on."""
        if self._palette is None:
            self._palette = ScaleStyles(self.app.theme_variables)
        return self._palette

    def _key(self, base: Style, muted: Style) -> list[Segment]:
        """What the scale's ends and its zero look like: `-1.02 ▓▓▒▒░░ 0 ░░▒▒▓▓ 1.02`."""
        scale, look = self.grid.scale, self._drawn_as
        room = self.size.width - self._label - 1
        steps = STEPS if room >= 44 else 2

        def swatch(share: float) -> Segment:
            if look == "colour":
                return Segment("  ", base + self._styles.style(share))
            return Segment(digit(share) if look == "digit" else glyph(share, ascii=self._ascii), base)

        parts: list[Segment] = []
        if scale.low < 0:
            parts += [Segment(f"{self._number(scale.low, 3)} ", muted), *(swatch(-step / steps) for step in range(steps, 0, -1))]
        parts.append(Segment(" 0 " if scale.low < 0 else "0 ", muted))
        if scale.high > 0:
            parts += [*(swatch(step / steps) for step in range(1, steps + 1)), Segment(f" {self._number(scale.high, 3)}", muted)]
        return parts

    def _number(self, value: float | None, digits: int) -> str:
        decimals = self.grid.decimals
        return number(value, digits) if decimals is None or value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"  # never -0.00

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")


def _kept(old: Sequence[str], new: Sequence[str], index: int) -> int:
    if index < len(old) and old[index] in new and (index >= len(new) or new[index] != old[index]):
        return list(new).index(old[index])
    return max(0, min(index, len(new) - 1))


def _scrolled(first: int, cursor: int, room: int, count: int) -> int:
    first = min(first, cursor) if cursor < first + room else cursor - room + 1
    return max(0, min(first, count - room))


def _fit(text: str, room: int) -> str:
    return set_cell_size(text, room - 1) + "…" if cell_len(text) > room else set_cell_size(text, room)


def _named(colours: Mapping[str, str], name: str) -> RichColor:
    return Color.parse(colours.get(name, "ansi_default")).rich_color
