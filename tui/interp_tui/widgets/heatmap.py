"""A grid of numbers under a cursor, as colours, glyphs or digits: restriction by data set, layer by token, sequence by sequence.

Drawn line by line, so that only what is visible costs anything. The view scrolls with the cursor; labels stay in sight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
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

from .colour_scale import LOOKS, Look, ScaleStyles
from .heatmap_cells import NUMBER_FITS, CellPainter
from .heatmap_cells import Grid as Grid
from .table_rows import fitted

MOST_LABEL = 22
LEGEND_FROM = 5
"""Lines a heatmap has at least to have a legend under it."""
TALLEST = 5
"""Lines that a row takes at most, where there is room for all rows at that height."""


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
        return self.grid.at(self.row, self.column)

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
        painter = CellPainter(self.grid, self._drawn_as, self.cell_width, self._styles, self._ascii)
        if y == 0:
            segments = [Segment(fitted(self.corner, self._label) + ("‹" if self._left else " "), muted)]
            segments += [Segment(text, strong if here else muted) for text, here in painter.titles(shown, self.column)]
            segments.append(Segment("›" if shown.stop < len(self.grid.columns) else " ", muted))
            return Strip(segments).adjust_cell_length(width, base)
        height = self.row_height
        row, line = self._top + (y - 1) // height, (y - 1) % height
        if self._legend and y == 1 + height * min(self._shown_rows, len(self.grid.rows)):
            segments = [Segment(fitted("", self._label) + " ", base), *painter.legend(width - self._label - 1, base, muted)]
            return Strip(segments).adjust_cell_length(width, base)
        if row >= len(self.grid.rows) or y > height * self._shown_rows:
            return Strip.blank(width, base)
        written = line == (height - 1) // 2  # a tall row has its label and numbers in the middle
        segments = [Segment(fitted(self.grid.rows[row] if written else "", self._label) + " ", strong if row == self.row else muted)]
        cells = [painter.cell(row, column, base, here=(row, column) == (self.row, self.column)) for column in shown]
        segments += cells if written else [Segment(" " * cell_len(cell.text), cell.style) for cell in cells]
        return Strip(segments).adjust_cell_length(width, base)

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


def _named(colours: Mapping[str, str], name: str) -> RichColor:
    return Color.parse(colours.get(name, "ansi_default")).rich_color
