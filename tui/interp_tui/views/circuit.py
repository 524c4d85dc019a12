"""A circuit: each node as it is decided, then the nodes that stayed and the edges that carry the behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from interp_tui.numbers import number
from interp_tui.runstate import RunState
from interp_tui.runstate import number as finite
from interp_tui.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import Fact, Facts, column
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row

from .base import QuietTable, RunView, scalars

AXIS = 21
COLUMNS = (
    Column("part", 22, grow=2, most=40),
    Column("effect", 9, right=True),
    Column(" −1       0       +1 ", AXIS),
    Column("", 12, drop=1),
)


class CircuitView(RunView):
    """A table of nodes, or of edges; the effect is the share of the behaviour that goes when the part is cut."""

    KINDS: ClassVar[tuple[str, ...]] = ("circuit",)
    DEFAULT_CSS = """
    CircuitView #parts { height: 1fr; }
    CircuitView #facts { height: auto; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "edges", "Nodes/edges", id="circuit.edges", tooltip="show the nodes, or the edges between them"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.decided: list[Mapping[str, Any]] = []
        self.nodes: list[Mapping[str, Any]] = []
        self.edges: list[Mapping[str, Any]] = []
        self.with_edges = False
        self.facts: list[Fact] = []
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Facts(id="facts")
        yield QuietTable(COLUMNS, id="parts")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        batches = [state.cells[step] for step in sorted(state.cells)]
        self.decided = [batch for batch in batches if "kept" in batch]
        for batch in batches:
            if isinstance(batch.get("circuit"), list):
                self.nodes, self.edges = _mappings(batch.get("circuit")), _mappings(batch.get("edges"))
        self.waiting = "" if self.decided else waiting
        kept = sum(batch.get("kept") is True for batch in self.decided)
        newest = self.decided[-1] if self.decided else {}
        self.facts = [
            Fact("decided", number(len(self.decided))),
            Fact("kept", number(kept), "good"),
            Fact("faithfulness", number(finite(newest.get("faithfulness")), 3), loud=True),
            Fact("with all nodes", number(finite(newest.get("clean_metric")))),
            Fact("with none", number(finite(newest.get("empty_metric")))),
        ]
        if self.nodes:
            self.facts.append(Fact("edges", number(len(self.edges))))

    async def draw_plots(self) -> None:
        """There are none: the rows are drawn with the tables."""

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self.facts if self.decided else [], flat=True)
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        rows = self._rows()
        table.display, waiting.display = bool(rows), bool(self.waiting)
        waiting.update(self.waiting)
        table.set_rows(rows)

    def _rows(self) -> list[Row]:
        if self.with_edges and self.nodes:
            return [_row(f"e{i}", edge.get("edge"), edge.get("effect"), "") for i, edge in enumerate(self.edges)]
        if self.nodes:
            strongest = sorted(self.nodes, key=lambda node: -abs(finite(node.get("effect")) or 0.0))
            return [_row(f"n{i}", node.get("name"), node.get("effect"), "in circuit") for i, node in enumerate(strongest)]
        said = {True: "kept", False: "cut"}
        return [_row(f"d{i}", b.get("node"), b.get("loss"), said.get(b.get("kept") is True, "")) for i, b in enumerate(self.decided)][::-1]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action == "edges" and not self.edges)

    def action_edges(self) -> None:
        self.with_edges = not self.with_edges
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        nodes = _mappings(result.get("nodes"))
        if not nodes:
            return scalars(result, colours, ascii=ascii)
        facts = [Fact(key, number(finite(result.get(key)), 3)) for key in ("faithfulness", "completeness", "minimality", "stability")]
        for title, rows in (("nodes", nodes), ("edges", _mappings(result.get("edges")))):
            for index, row in enumerate(sorted(rows, key=lambda row: -abs(finite(row.get("effect")) or 0.0))[:30]):
                said = f"{clean(str(row.get('name')), limit=30):<24} {number(finite(row.get('effect')), 3)}"
                facts.append(Fact(title if not index else " ", said))
        return column(facts, colours)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _row(key: str, name: Any, effect: Any, state: str) -> Row:
    value = finite(effect)
    colour = "muted" if state == "cut" else "good" if (value or 0) > 0 else "bad"
    axis = on_axis(value, AXIS, limit=1.1, mark=1.0)
    cells = (
        Cell(clean(str(name), limit=40)),
        Cell(f"{value:+.3f}" if value is not None else "—", colour),
        Cell(axis, colour),
        Cell(state, "muted"),
    )
    return Row(key, cells)
