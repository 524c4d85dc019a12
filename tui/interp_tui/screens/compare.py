"""Two runs side by side, what differs first in sight."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from interp_tui.runs.comparison import ComparedKey, compare
from interp_tui.screens.base import WorkScreen
from interp_tui.text.sanitise import clean
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

COLUMNS = (
    Column("", 1),
    Column("key", 22, grow=3, most=44),
    Column("left", 13, grow=3, most=30, right=True),
    Column("right", 13, grow=3, most=30, right=True),
    Column("right - left", 19, grow=2, most=24, right=True),
)
TITLES = {"result": "Result", "manifest": "Manifest", "provenance": "Made with"}


class CompareScreen(WorkScreen):
    """Keys that differ; `a` shows the equal ones too."""

    TITLE = "Compare"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "all", "All / differing", id="compare.all"),
        Binding("s", "swap", "Swap sides", id="compare.swap"),
    ]

    def __init__(self, left: RunFolder, right: RunFolder) -> None:
        super().__init__()
        self.sides = (left, right)
        self.lines: list[ComparedKey] | None = None
        self.everything = False

    def body(self) -> ComposeResult:
        with Vertical(id="compare"):
            yield Static("", id="compare-sides")
            yield ListTable(COLUMNS, opens=False, id="compare-table")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.query_one("#compare").border_title = "Compare"
        self.query_one(ListTable).focus()
        self.read()

    @work(thread=True, exclusive=True)
    def read(self) -> None:
        """Blocking on the disk, so in a thread."""
        try:
            lines = compare(*self.sides)
        except UserError as error:
            self.tell(self.workbench.complain, error)
            lines = []
        self.tell(self._read, lines)

    def _read(self, lines: list[ComparedKey]) -> None:
        self.lines = lines
        self.show()

    def show(self) -> None:
        """Draw the lines that are asked for."""
        left, right = (clean(folder.path.name, limit=60) for folder in self.sides)
        said = Content.assemble(("left   ", "$muted"), (left, "$accent"), "\n", ("right  ", "$muted"), (right, "$accent"))
        self.query_one("#compare-sides", Static).update(said)
        rows: list[Row] = []
        part = ""
        blank = (Cell(""),) * 3
        for line in self.lines or ():
            if not (line.differs or self.everything):
                continue
            if line.part != part:
                part = line.part
                rows.append(Row(f"#{part}", (Cell(""), Cell(TITLES[part], "muted"), *blank)))
            rows.append(self._row(line))
        if self.lines is not None and not rows:
            rows.append(Row("#equal", (Cell(""), Cell("equal in everything"), *blank)))
        self.query_one(ListTable).set_rows(rows)

    def _row(self, line: ComparedKey) -> Row:
        colour = "foreground" if line.differs else "muted"
        cells = (
            Cell("≠" if line.differs else "", "accent"),
            Cell("  " + clean(line.key, limit=80), colour),
            Cell(clean(line.left, limit=80), colour),
            Cell(clean(line.right, limit=80), colour),
            Cell(line.change, "accent"),
        )
        return Row(f"{line.part}.{line.key}", cells)

    def copied(self) -> str:
        return self.query_one(ListTable).copied()

    def action_all(self) -> None:
        self.everything = not self.everything
        self.show()

    def action_swap(self) -> None:
        self.sides = (self.sides[1], self.sides[0])
        self.read()
