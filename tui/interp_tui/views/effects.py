"""Patching that scores parts one by one: a table, strongest first, with an estimate beside the exact effect where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import Fact, Facts, column
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.payload import read
from interp_tui_engine.results.part_effects import AttributionPatchResult, PartCell

from .base import QuietTable, RunView, scalars
from .reach import reach_facts, warning_facts

AXIS = 21
COLUMNS = (
    Column("part", 22, grow=2, most=40),
    Column("effect", 9, right=True),
    Column(" −1       0       +1 ", AXIS),
    Column("estimate", 9, right=True, drop=1),
)


class EffectsView(RunView):
    """The effect is the share of the behaviour that goes when the part alone is patched."""

    KINDS: ClassVar[tuple[str, ...]] = ("activation_patch", "attribution_patch", "path_patch")
    DEFAULT_CSS = """
    EffectsView #parts { height: 1fr; }
    EffectsView #facts { height: auto; margin-bottom: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[PartCell] = []
        self.waiting = ""
        self.warnings: list[Fact] = []

    def compose(self) -> ComposeResult:
        yield Facts(id="facts")
        yield QuietTable(COLUMNS, begins_at_top=True, id="parts")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        patched = [cell for cell in state.cells_of(PartCell).values() if cell.part]
        self.parts = sorted(patched, key=lambda cell: -abs(cell.effect or 0.0))
        self.waiting = "" if self.parts else waiting
        self.warnings = warning_facts(state)

    async def draw_plots(self) -> None:
        """There are none: the rows are drawn with the tables."""

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self._facts() if self.parts else [], flat=True)
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        table.display, waiting.display = bool(self.parts), bool(self.waiting)
        waiting.update(self.waiting)
        estimated = any(cell.guess is not None for cell in self.parts)
        table.set_columns(COLUMNS if estimated else COLUMNS[:-1])
        table.set_rows([part_row(cell, estimated=estimated) for cell in self.parts])

    def _facts(self) -> list[Fact]:
        whole, empty = self.parts[0].clean_metric, self.parts[0].empty_metric
        arrow = "->" if self.app.has_class("-ascii") else "→"
        ends = [Fact("metric", f"{number(whole, 4)} {arrow} {number(empty, 4)}")] if whole is not None and empty is not None else []
        unit = "share of that lost when the part alone is patched" if ends else "share of the behaviour lost when the part alone is patched"
        return [Fact("patched", number(len(self.parts))), *ends, Fact("", unit, "muted"), *self.warnings]

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(AttributionPatchResult, result)
        if not stored.top:
            return scalars(result, colours, ascii=ascii)
        facts = [Fact("pairs", number(stored.pairs)), Fact("clean metric", number(stored.clean_metric, 4))]
        facts.append(Fact("empty metric", number(stored.empty_metric, 4)))
        facts += [Fact("correlation", number(stored.correlation, 4))] if "correlation" in result else []
        facts += reach_facts(stored.reach)
        if (held := stored.top_held_out) is not None:
            facts.append(Fact("largest, on pairs that did not choose it", number(held.effect, 3)))
        for part in stored.top:
            bar = f"  [{number(part.low, 3)}, {number(part.high, 3)}]" if part.low is not None and part.high is not None else ""
            facts.append(Fact(clean(part.name, limit=30), number(part.effect, 3) + bar))
        return column(facts, colours)


def part_row(part: PartCell, *, estimated: bool) -> Row:
    """One part as a table row; with a cell for its estimate where any part has one."""
    value, guess = part.effect, part.guess
    name = clean(part.part, limit=40)
    rounded = round(value or 0.0, 3)
    colour = "good" if rounded > 0 else "bad" if rounded < 0 else "muted"
    axis = on_axis(value, AXIS, limit=1.1, mark=1.0)
    numbers = [f"{share:+z.3f}" if share is not None else "—" for share in (value, guess)]
    estimate = (Cell(numbers[1] if guess is not None else "", "muted"),) if estimated else ()
    return Row(name, (Cell(name), Cell(numbers[0], colour), Cell(axis, colour), *estimate))
