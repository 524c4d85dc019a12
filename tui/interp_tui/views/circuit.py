"""A circuit: each part as it is decided, then the parts that stayed, the edges that carry the behaviour, and the tree they make."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import Fact, Facts, column
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.payload import read
from interp_tui_engine.results.circuit import CircuitCell, CircuitEdge, CircuitNode, CircuitResult

from .base import WIDE, QuietTable, RunView, scalars
from .circuit_tree import TreeEdge, TreeLine, edges_of, tree
from .reach import reach_facts, warning_facts

AXIS = 21
COLUMNS = (
    Column("part", 22, grow=2, most=40),
    Column("effect", 9, right=True),
    Column(" −1       0       +1 ", AXIS),
    Column("", 15, drop=1),
)
BRANCHES = (Column("what reads from what", 26, grow=3, most=60), Column("by", 3), Column("effect", 9, right=True))
TABLES = ("nodes", "edges", "tree")
STRONGEST = 3


class CircuitView(RunView):
    """Nodes or edges, the tree beside them where there is room; an effect is the share of the behaviour that goes with a cut."""

    KINDS: ClassVar[tuple[str, ...]] = ("circuit",)
    DEFAULT_CSS = """
    CircuitView #facts { height: auto; margin-bottom: 1; }
    CircuitView #body { height: 1fr; layout: horizontal; }
    CircuitView #parts { height: 1fr; width: 1fr; }
    CircuitView #right { width: 1fr; height: 1fr; }
    CircuitView.-wide #right { width: 48; border-left: solid $rule; padding: 0 0 0 2; }
    CircuitView #cut { height: auto; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "s", "table(1)", "Nodes/edges/tree", id="circuit.edges", tooltip="the nodes, the edges between them, or the tree they make"
        ),
        Binding("S", "table(-1)", "Table before", show=False, id="circuit.edges.before"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.decided: list[CircuitCell] = []
        self.nodes: Sequence[CircuitNode] = ()
        """The circuit, once it is found."""
        self.edges: list[TreeEdge] = []
        self.lines: list[TreeLine] = []
        self.heads_per_kv = 0
        """0 until it is known."""
        self.beyond = read(CircuitCell, {})
        """What is known of the circuit on other pairs and of random ones; empty until it is."""
        self.table = 0
        self.summary: list[Fact] = []
        self.metrics: tuple[float | None, float | None] = (None, None)
        self.waiting = ""
        self.done = False

    def compose(self) -> ComposeResult:
        yield Facts(id="facts")
        with Container(id="body"):
            yield QuietTable(COLUMNS, begins_at_top=True, id="parts")
            with Vertical(id="right"):
                yield QuietTable(BRANCHES, begins_at_top=True, id="tree")
        yield Facts(id="cut")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one("#tree" if self._shown == "tree" else "#parts", ListTable).focus()

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    def take(self, state: RunState, waiting: str) -> None:
        cells = state.cells_of(CircuitCell).values()
        self.decided = [cell for cell in cells if cell.kept is not None]
        for cell in cells:
            if cell.circuit is not None:
                self.nodes, self.edges = cell.circuit, edges_of(cell.edges)
                self.heads_per_kv = max(self.heads_per_kv, cell.heads_per_kv or 0)
                self.beyond = cell
        self.done = state.ending is not None and state.ending.state == "done"
        self.waiting = "" if self.decided else waiting
        kept = sum(cell.kept is True for cell in self.decided)
        newest = self.decided[-1] if self.decided else read(CircuitCell, {})
        self.metrics = (newest.clean_metric, newest.empty_metric)
        self.summary = [
            Fact("decided", number(len(self.decided))),
            Fact("kept", number(kept), "good"),
            Fact("faithfulness", number(newest.faithfulness, 3), loud=True),
            *_held_out(self.beyond),
            Fact("with all nodes", number(self.metrics[0])),
            Fact("with none", number(self.metrics[1])),
        ]
        if self.nodes:
            self.summary.append(Fact("edges", number(len(self.edges))))
        self.summary += warning_facts(state)

    async def draw_plots(self) -> None:
        """Find out once how many heads share keys: a run says so in its result."""
        if self.done and self.edges and not self.heads_per_kv:
            result = await asyncio.to_thread(self.folder.result) if self.folder is not None else None
            self.heads_per_kv = max(1, read(CircuitResult, result).heads_per_kv or 1)
        names = [clean(node.name, limit=40) for node in self.nodes]
        self.lines = tree(self.edges, names, max(1, self.heads_per_kv)) if self.edges else []

    def draw_tables(self) -> None:
        self.query_one("#facts", Facts).show(self.summary if self.decided else [], flat=True)
        parts, branches, waiting = (
            self.query_one("#parts", ListTable),
            self.query_one("#tree", ListTable),
            self.query_one("#waiting", Static),
        )
        rows, wide = self._rows(), self.has_class("-wide")
        waiting.display, self.query_one("#body").display = bool(self.waiting), bool(self.decided)
        waiting.update(self.waiting)
        parts.display = wide or self._shown != "tree"
        self.query_one("#right").display = bool(self.lines) and (wide or self._shown == "tree")
        parts.set_rows(rows)
        branches.set_rows([_branch(index, line, ascii=self.app.has_class("-ascii")) for index, line in enumerate(self.lines)])
        self.query_one("#cut", Facts).show(self._cut(), flat=True)

    @property
    def _shown(self) -> str:
        """Which table the keys move in; there are nodes only until the edges are known."""
        return TABLES[self.table] if self.edges else "nodes"

    def _rows(self) -> list[Row]:
        if self._shown != "nodes" and self.nodes:
            return [_row(f"e{i}", edge.name, edge.effect, "") for i, edge in enumerate(self.edges)]
        if self.nodes:
            roles = [clean(node.role or "in circuit", limit=15) for node in self._strongest]
            return [_row(f"n{i}", node.name, node.effect, roles[i]) for i, node in enumerate(self._strongest)]
        rows = [_row(f"d{i}", cell.node or cell.edge, cell.loss, "kept" if cell.kept else "cut") for i, cell in enumerate(self.decided)]
        return rows[::-1]

    @property
    def _strongest(self) -> list[CircuitNode]:
        return sorted(self.nodes, key=lambda node: -abs(node.effect or 0.0))

    # -- what cutting does

    def _cut(self) -> list[Fact]:
        """What goes when the part or edge under the cursor is cut."""
        table = self.query_one("#tree" if self._shown == "tree" else "#parts", ListTable)
        key = table.key
        if key is None or not self.nodes:
            return []
        index = int(key[1:])
        if key[0] == "n" and index < len(self.nodes):
            node = self._strongest[index]
            name = clean(node.name, limit=40)
            return [*self._lost(f"cut {name}", node.effect), *self._beside(name)]
        edge = self.edges[index] if key[0] == "e" and index < len(self.edges) else None
        if key[0] == "t" and index < len(self.lines):
            edge = self.lines[index].edge
        return self._lost(f"cut {edge.name}", edge.effect) if edge is not None else []

    def _lost(self, label: str, effect: float | None) -> list[Fact]:
        if effect is None:
            return [Fact(label, "not measured", "muted")]
        facts = [Fact(label, f"{effect:+z.3f} of the behaviour", "good" if effect > 0 else "bad", loud=True)]
        whole, empty = self.metrics
        if whole is not None and empty is not None:
            arrow = "->" if self.app.has_class("-ascii") else "→"
            facts.append(Fact("metric", f"{number(whole, 4)} {arrow} {number(whole - effect * (whole - empty), 4)}"))
        return facts

    def _beside(self, name: str) -> list[Fact]:
        """A part's strongest edges: what it reads from, and what reads from it."""
        reads = [(line.edge, line.part) for parent, line in _pairs(self.lines) if parent == name and line.edge is not None]
        feeds = [(edge, edge.receiver) for edge in self.edges if edge.sender == name]
        facts = []
        for label, edges in (("reads from", reads), ("feeds", feeds)):
            ordered = sorted(edges, key=lambda item: -abs(item[0].effect or 0.0))
            strongest = ", ".join(f"{other} {number(edge.effect, 2)}" for edge, other in ordered[:STRONGEST])
            facts += [Fact(label, strongest)] if strongest else []
        return facts

    @on(ListTable.Highlighted)
    def _other_part(self) -> None:
        self.query_one("#cut", Facts).show(self._cut(), flat=True)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action == "table" and not self.edges)

    def action_table(self, by: int) -> None:
        self.table = (self.table + by) % len(TABLES)
        self.draw_tables()
        self.query_one("#tree" if self._shown == "tree" else "#parts", ListTable).focus()
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(CircuitResult, result)
        if not stored.nodes:
            return scalars(result, colours, ascii=ascii)
        facts = [*_beyond(stored), *reach_facts(stored.reach)]
        parts: dict[str, Sequence[CircuitNode | CircuitEdge]] = {"nodes": stored.nodes, "edges": stored.edges}
        for title, rows in parts.items():
            for index, row in enumerate(sorted(rows, key=lambda row: -abs(row.effect or 0.0))[:30]):
                facts.append(Fact(title if not index else " ", f"{clean(row.name, limit=30):<24} {number(row.effect, 3)}"))
        return column(facts, colours)


def _held_out(cell: CircuitCell) -> list[Fact]:
    """Faithfulness on pairs that had no part in the circuit, with its interval, and that of random circuits."""
    facts = []
    if (held := cell.held_out) is not None:
        bar = f" [{number(held.low, 3)}, {number(held.high, 3)}]" if held.low is not None and held.high is not None else ""
        facts.append(Fact("on other pairs", number(held.faithfulness, 3) + bar, loud=True))
    return [*facts, Fact("random", number(cell.random, 3), "muted")] if cell.random is not None else facts


def _beyond(circuit: CircuitResult) -> list[Fact]:
    """What the circuit is worth on its own pairs, on others, and beside random ones."""
    held, random = circuit.held_out, circuit.random
    unknown = on_others = "not known: one pair" if circuit.pairs == 1 else "not known"
    if held is not None:
        bar = f"  [{number(held.low, 3)}, {number(held.high, 3)}]" if held.low is not None and held.high is not None else ""
        on_others = number(held.faithfulness, 3) + bar
    facts = [Fact("faithfulness", number(circuit.faithfulness, 3)), Fact("faithfulness on pairs it was not found on", on_others)]
    if random.mean is not None:
        facts.append(Fact("of random circuits of its size", f"{number(random.mean, 3)}, at most {number(random.max, 3)}"))
    facts += [Fact("completeness", number(circuit.completeness, 3)), Fact("minimality", number(circuit.minimality, 3))]
    stability = unknown if circuit.stability is None else number(circuit.stability, 3)
    return [*facts, Fact("stability over halves of the pairs", stability)]


def _pairs(lines: Sequence[TreeLine]) -> list[tuple[str, TreeLine]]:
    """Each line with the part it stands under."""
    rows, above = [], [""]
    for line in lines:
        depth = len(line.branch) // 2
        del above[depth:]
        rows.append((above[-1] if above else "", line))
        above.append(line.part)
    return rows


def _branch(index: int, line: TreeLine, *, ascii: bool) -> Row:
    text = line.branch + line.part + (" (above)" if line.again else "")
    if ascii:
        text = text.replace("├", "|").replace("│", "|").replace("└", "`")
    value = line.edge.effect if line.edge is not None else None
    colour = "good" if (value or 0) > 0 else "bad"
    shown = f"{value:+z.3f}" if value is not None else "" if line.edge is None else "—"
    return Row(f"t{index}", (Cell(text, "accent" if line.edge is None else "foreground"), Cell(line.into, "muted"), Cell(shown, colour)))


def _row(key: str, name: str, value: float | None, state: str) -> Row:
    colour = "muted" if state == "cut" else "good" if (value or 0) > 0 else "bad"
    axis = on_axis(value, AXIS, limit=1.1, mark=1.0)
    cells = (
        Cell(clean(name, limit=40)),
        Cell(f"{value:+z.3f}" if value is not None else "—", colour),
        Cell(axis, colour),
        Cell(state, "muted"),
    )
    return Row(key, cells)
