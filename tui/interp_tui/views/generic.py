"""Any kind without a view of its own: every number it reports, and how the chosen one went."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number, spark
from interp_tui.text.sanitise import clean
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui.widgets.trace import Plot, PlotLine, Point, TracePlot
from interp_tui_engine.numbers import as_finite as finite

from .base import QuietTable, RunView

COLUMNS = (Column("number", 24, grow=2, most=60), Column("newest", 14, right=True), Column("so far", 20, grow=3, most=60))
Key = tuple[str, str]


class GenericView(RunView):
    """A table of numbers; the one under the cursor is plotted over its steps."""

    KINDS: ClassVar[tuple[str, ...]] = ("*",)
    DEFAULT_CSS = """
    GenericView #numbers { height: 1fr; min-height: 5; }
    GenericView #over { height: 1fr; }
    GenericView #title { height: 1; color: $muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.points: dict[str, list[Point]] = {}
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield QuietTable(COLUMNS, id="numbers")
        with Container(id="over"):
            yield Static(id="title")
            yield TracePlot()

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    @on(ListTable.Highlighted)
    def _chosen(self) -> None:
        self.post_message(self.LookChanged())

    def take(self, state: RunState, waiting: str) -> None:
        self.rows, self.points = [], {}
        for series, values in state.latest.items():
            for name, value in values.items():
                key = clean(name if series in {"headline", "metrics"} else f"{series}.{name}", limit=60)
                trace = state.series.get((series, name))
                if trace is not None:
                    points: list[Point] = [*trace.means(0, trace.last + 1, 200)]
                    ended = series == "headline" and len(points) > 1 and points[0][0] == 0  # a run's last headline is written at step 0
                    self.points[key] = points[1:] if ended else points
                history = [y for _, y in self.points.get(key, [])]
                if isinstance(value, (int, float, str, type(None))) or finite(value) is not None:
                    drawn = spark(history, 40) if len(history) > 1 else ""
                    self.rows.append(Row(key, (Cell(key), Cell(number(value)), Cell(drawn, "accent"))))
        # numbers that have a course come first
        self.rows.sort(key=lambda row: len(self.points.get(row.key, ())) < 2)
        self.waiting = waiting

    async def draw_plots(self) -> None:
        table, plot = self.query_one(ListTable), self.query_one(TracePlot)
        points = self.points.get(table.key or "", [])
        title = self.query_one("#title", Static)
        if len(points) < 2:
            title.update("" if self.rows else self.waiting or "this run has reported no numbers")
            plot.update("")
            return
        title.update(f"{table.key} by step")
        colours = self.app.theme_variables
        line = PlotLine("*", points, colours.get("chain-0", ""))
        await plot.draw(
            Plot([line], points[0][0], points[-1][0], "steps", muted=colours.get("muted", ""), ascii=self.app.has_class("-ascii"))
        )

    def draw_tables(self) -> None:
        table = self.query_one(ListTable)
        table.display = bool(self.rows)
        table.set_rows(self.rows)
