"""Runs beside each other: what each answered, their curves and grids in one picture, and what they were asked differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from interp_tui.runs import curves, grids, meaning
from interp_tui.runs.comparison import ComparedKey, compare
from interp_tui.screens.base import WorkScreen
from interp_tui.terminal import themes
from interp_tui.text.numbers import SIGNS
from interp_tui.text.sanitise import clean
from interp_tui.views.overlay import Drawn, Overlay
from interp_tui.widgets.heatmap import Heatmap
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

MOST = 6
"""Runs side by side."""
POINTS = 200
"""Points of a curve: more than the columns of most terminals."""
DIFFERENCES = 3
"""Headline numbers whose difference is written out."""
TITLES = {"result": "Result", "manifest": "Manifest", "provenance": "Made with"}


class CompareScreen(WorkScreen):
    """Above, the answers; in the middle, the picture they make together; below, keys that differ (`a` shows the equal ones too)."""

    TITLE = "Compare"
    CSS = """
    CompareScreen #compare-sides { height: auto; max-height: 12; padding: 0 1; }
    CompareScreen Overlay { height: 3fr; display: none; }
    CompareScreen #compare-table { height: 2fr; min-height: 4; border-top: solid $rule; }
    CompareScreen.-ascii #compare-table { border-top: ascii $rule; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "all", "All / differing", id="compare.all"),
        Binding("s", "swap", "Swap sides", id="compare.swap"),
        Binding("tab", "app.focus_next", "Picture / table", key_display="tab", id="compare.next"),
    ]

    def __init__(self, *folders: RunFolder) -> None:
        super().__init__()
        self.folders = folders[:MOST]
        self.sides: Sequence[meaning.ComparedRun] = ()
        self.lines: list[ComparedKey] | None = None
        self.everything = False

    def body(self) -> ComposeResult:
        with Vertical(id="compare"):
            yield Static("", id="compare-sides")
            yield Overlay(id="compare-picture")
            yield ListTable((), opens=False, id="compare-table")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.query_one("#compare").border_title = "Compare"
        self.query_one(ListTable).focus()
        self.read()

    @work(thread=True, exclusive=True, group="compare")
    def read(self) -> None:
        """Blocking on the disk, so in a thread: the answers and the keys first, then what the pictures need."""
        try:
            sides, lines = [meaning.side(folder) for folder in self.folders], compare(*self.folders)
        except UserError as error:
            self.tell(self.workbench.complain, error)
            self.tell(self._read, (), [])
            return
        self.tell(self._read, sides, lines)
        drawn = [Drawn(side.name, curves.read(side.folder, POINTS), grids.read(side.folder.result() or {})) for side in sides]
        self.tell(self._drawn, drawn)

    def _read(self, sides: Sequence[meaning.ComparedRun], lines: list[ComparedKey]) -> None:
        self.sides, self.lines = sides, lines
        self.show()

    def _drawn(self, drawn: Sequence[Drawn]) -> None:
        if not self.is_attached:
            return
        picture = self.query_one(Overlay)
        picture.show(drawn)
        if picture.figure is not None:
            (self.query_one("#overlay-grid", Heatmap) if picture.figure.is_grid else picture).focus()
            self.refresh_bindings()

    # -- the answers

    def show(self) -> None:
        """Draw the answers, and the lines that are asked for."""
        ascii = self.workbench.ascii_mode
        lines = [self._side(place, side, ascii) for place, side in enumerate(self.sides)]
        if len(self.sides) == 2:
            lines += [self._difference(difference) for difference in meaning.differences(*self.sides)[:DIFFERENCES]]
        if len({side.status.kind for side in self.sides}) > 1:
            common = meaning.shared(self.sides)
            lines.append(Content.assemble(("in common   ", "$muted"), "; ".join(common) if common else "neither model nor data"))
        lines += [Content.styled(warning, "$warn") for warning in meaning.warnings(self.sides)]
        self.query_one("#compare-sides", Static).update(Content("\n").join(lines))
        self._show_lines()

    def _side(self, place: int, side: meaning.ComparedRun, ascii: bool) -> Content:
        status = side.status
        glyph = (themes.glyph(status.state, ascii), f"${themes.colour_name(status.state)}")
        what = " · ".join(clean(part, limit=30) for part in (status.kind, side.name, status.model) if part)
        number = (f"{place + 1} ", f"$chain-{place % 8}")
        return Content.assemble(number, glyph, f" {what}   ", (meaning.headline(side, ascii=ascii), "bold"))

    @staticmethod
    def _difference(between: meaning.HeadlineDifference) -> Content:
        sign = SIGNS.get(between.name, between.name.replace("_", " "))
        apart = "" if between.errors is None else f"   {between.errors:.1f} standard errors apart"
        verdict = {True: "", False: ": no difference to speak of", None: "   (no error bar on both sides)"}[between.clear]
        return Content.assemble(
            (f"2 - 1   {sign} ", "$muted"), (between.change, "bold" if between.clear else ""), (apart + verdict, "$muted")
        )

    # -- the keys

    def _show_lines(self) -> None:
        rows: list[Row] = []
        part = ""
        columns = self._columns()
        blank = (Cell(""),) * (len(columns) - 2)
        for line in self.lines or ():
            if not (line.differs or self.everything):
                continue
            if line.part != part:
                part = line.part
                rows.append(Row(f"#{part}", (Cell(""), Cell(TITLES[part], "muted"), *blank)))
            rows.append(self._row(line))
        if self.lines is not None and not rows:
            rows.append(Row("#equal", (Cell(""), Cell("equal in everything"), *blank)))
        table = self.query_one(ListTable)
        table.set_columns(columns)
        table.set_rows(rows)

    def _columns(self) -> list[Column]:
        wide = 13 if len(self.folders) < 4 else 9
        values = [Column(str(place + 1), wide, grow=3, most=30, right=True) for place in range(len(self.folders))]
        change = [Column("2 - 1", 19, grow=2, most=24, right=True)] if len(self.folders) == 2 else []
        return [Column("", 1), Column("key", 22 if len(self.folders) < 4 else 16, grow=3, most=44), *values, *change]

    def _row(self, line: ComparedKey) -> Row:
        colour = "foreground" if line.differs else "muted"
        values = (Cell(clean(value, limit=80), colour) for value in line.values)
        change = (Cell(line.change, "accent"),) if len(self.folders) == 2 else ()
        key = Cell("  " + clean(line.key, limit=80), colour)
        return Row(f"{line.part}.{line.key}", (Cell("≠" if line.differs else "", "accent"), key, *values, *change))

    def copied(self) -> str:
        focused = self.focused
        return focused.copied() if isinstance(focused, (Overlay, Heatmap, ListTable)) else ""

    def action_all(self) -> None:
        self.everything = not self.everything
        self._show_lines()

    def action_swap(self) -> None:
        """The last run comes first."""
        self.folders = (*self.folders[1:], self.folders[0])
        self.read()
