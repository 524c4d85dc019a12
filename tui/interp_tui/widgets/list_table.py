"""A table of keyed rows with a cursor that stays on its row, drawn line by line: 50,000 rows cost what is visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from interp_tui.terminal.guard import Guarded

from .legible import legible
from .table_rows import GAP, MadeRows, fitted, layout
from .table_rows import Cell as Cell
from .table_rows import Column as Column
from .table_rows import Row as Row

DRAWN_AT_MOST = 500


class ListTable(Guarded, ScrollView, can_focus=True):
    """Rows under a fixed header."""

    DEFAULT_CSS = """
    ListTable { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; background: $background; }
    ListTable > .list-table--header { color: $muted; }
    ListTable > .list-table--cursor { background: $block-cursor-blurred-background; text-style: $block-cursor-blurred-text-style; }
    ListTable:focus > .list-table--cursor { background: $block-cursor-background; text-style: $block-cursor-text-style; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"list-table--header", "list-table--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000000)", "First", show=False),
        Binding("end,G", "move(1000000000)", "Last", show=False),
        Binding("enter", "select", "Open", id="table.open", key_display="⏎"),
    ]

    class Highlighted(Message):
        """The cursor is on another row, or on none."""

        def __init__(self, table: ListTable, key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> ListTable:
            return self.table

    class Selected(Message):
        """Enter, or a click on the row under the cursor."""

        def __init__(self, table: ListTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> ListTable:
            return self.table

    def __init__(self, columns: Sequence[Column], *, opens: bool = True, begins_at_top: bool = False, id: str | None = None) -> None:
        """begins_at_top: the cursor stays on the first row, whichever that is, until it is moved; else on the row that was there first."""
        super().__init__(id=id)
        self.opens = opens
        self._at_top = begins_at_top
        self.columns = tuple(columns)
        self.rows: Sequence[Row] = []
        self._place: dict[str, int] = {}
        self._drawn: dict[int, Row] = {}
        """The rows as last drawn, by their place: those of a screen or a few."""
        self.cursor = 0
        self._colours: dict[str, Color] = {}

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        return self.rows[self.cursor].key if self.rows else None

    def copied(self) -> str:
        """The row under the cursor, its cells between tabs."""
        return "\t".join(cell.text.strip() for cell in self.rows[self.cursor].cells).strip() if self.rows else ""

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show these columns from the next rows on: those that are given have a cell for each."""
        if self.columns != tuple(columns):
            self.columns, self.rows = tuple(columns), []

    def set_rows(self, rows: list[Row]) -> None:
        """Show these rows. The cursor stays on the row it was on, and on the screen line it was on; only changed lines are drawn."""
        old, key_before, line = self.rows, self.key, self.cursor - round(self.scroll_y)
        key = None if self._at_top else key_before
        self.rows = rows
        self._place = {row.key: index for index, row in enumerate(rows)}
        self.cursor = self._place.get(key, min(self.cursor, max(0, len(rows) - 1))) if key is not None else 0
        if len(old) == len(rows) and all(a.key == b.key for a, b in zip(old, rows, strict=True)):
            for index, (before, after) in enumerate(zip(old, rows, strict=True)):
                if before is not after and before != after:
                    self._refresh_row(index)
        else:
            self.virtual_size = Size(self.size.width, len(rows) + 1)
            if key is not None and self.max_scroll_y:
                self.scroll_to(y=max(0, self.cursor - line), animate=False, immediate=True)
            self.refresh()
        if self.key != key_before:
            self.post_message(self.Highlighted(self, self.key))

    def set_long(self, keys: Sequence[str], make: Callable[[int], Row], *, stay: bool = False) -> None:
        """As `set_rows`, for tables of many rows: `make` makes the row at a place when it is drawn.

        `stay` keeps the cursor at its place where its row has gone; without, it goes to the first.
        """
        key, line = self.key, self.cursor - round(self.scroll_y)
        same = isinstance(self.rows, MadeRows) and self.rows.keys == keys
        self.rows = MadeRows(keys, make)
        if same:
            self._refresh_changed()
            return
        self._place = {name: index for index, name in enumerate(keys)}
        self.cursor = self._place.get(key, min(self.cursor, max(0, len(keys) - 1)) if stay else 0) if key is not None else 0
        self.virtual_size = Size(self.size.width, len(keys) + 1)
        if key is not None and self.max_scroll_y:
            self.scroll_to(y=max(0, self.cursor - line), animate=False, immediate=True)
        self.refresh()
        if self.key != key:
            self.post_message(self.Highlighted(self, self.key))

    def _refresh_changed(self) -> None:
        """Draw the visible rows that read another way than they were drawn."""
        top = round(self.scroll_y)
        for index in range(top, min(len(self.rows), top + self.size.height)):
            if self._drawn.get(index) != self.rows[index]:
                self._refresh_row(index)

    def move_to(self, key: str) -> None:
        """Put the cursor on the row called `key`, if there is one."""
        if key in self._place:
            self._move(self._place[key])

    def _move(self, index: int) -> None:
        index = max(0, min(index, len(self.rows) - 1))
        if not self.rows or index == self.cursor:
            return
        self._at_top = False
        before, self.cursor = self.cursor, index
        self._refresh_row(before)
        self._refresh_row(index)
        visible = self.size.height - 1
        if index < self.scroll_y:
            self.scroll_to(y=index, animate=False, immediate=True)
        elif index >= self.scroll_y + visible:
            self.scroll_to(y=index - visible + 1, animate=False, immediate=True)
        self.post_message(self.Highlighted(self, self.key))

    def _refresh_row(self, index: int) -> None:
        y = index + 1 - round(self.scroll_y)
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def action_move(self, by: int) -> None:
        self._move(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._move(self.cursor + by * max(1, self.size.height - 2))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.opens or action != "select"

    def action_select(self) -> None:
        if self.key is not None:
            self.post_message(self.Selected(self, self.key))

    def on_click(self, event: events.Click) -> None:
        index = event.y - 1 + round(self.scroll_y)
        if event.y >= 1 and index < len(self.rows):
            if index == self.cursor:
                self.action_select()
            else:
                self._move(index)

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._colours.clear()

    def _colour(self, name: str) -> Color:
        if name not in self._colours:
            self._colours[name] = Color.parse(self.app.theme_variables.get(name, "ansi_default"))
        return self._colours[name]

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        widths = layout(self.columns, width - 2)
        if y == 0:
            style = base + self.get_component_rich_style("list-table--header", partial=True)
            return self._strip([Cell(c.title, "muted") for c in self.columns], widths, style, width)
        index = y - 1 + round(self.scroll_y)
        if index >= len(self.rows):
            return Strip.blank(width, base)
        style = base
        if index == self.cursor:
            style += self.get_component_rich_style("list-table--cursor", partial=True)
        row = self.rows[index]
        if len(self._drawn) > DRAWN_AT_MOST:
            self._drawn.clear()
        self._drawn[index] = row
        return self._strip(row.cells, widths, style, width)

    def _strip(self, cells: Sequence[Cell], widths: list[int], style: Style, width: int) -> Strip:
        segments = [Segment(" ", style)]
        for column, cell, room in zip(self.columns, cells, widths, strict=True):
            if not room:
                continue
            text = fitted(cell.text, room, right=column.right)
            segments.append(Segment(text, style + Style(color=legible(self._colour(cell.colour), style).rich_color)))
            segments.append(Segment(" " * GAP, style))
        return Strip(segments).adjust_cell_length(width, style)
