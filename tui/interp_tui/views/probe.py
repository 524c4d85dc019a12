"""Probes: how well a label can be read off each layer, beside what a control task reads there, and what the chosen probe mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, column, rich_style
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui.widgets.trace import Plot, PlotLine, Point, TracePlot
from interp_tui_engine.payload import read
from interp_tui_engine.results.probe import Confusion, PlaceScores, ProbeCell, ProbeResult

from .base import WIDE, QuietTable, RunView, scalars

AXIS = 21
COLUMNS = (
    Column("layer", 5, right=True),
    Column("AUROC", 6, right=True),
    Column("95 % interval", 14, right=True),
    Column("0         ½         1", AXIS, drop=2),
    Column("accuracy", 8, right=True),
    Column("control", 7, right=True),
    Column("selectivity", 11, right=True, drop=1),
)
MOST_CLASSES = 8
"""Classes of a confusion matrix that a side panel has room for."""
MOST_LAYERS = 10_000


class ProbeView(RunView):
    """A curve by layer for one place at a time over the table of its layers; the layer under the cursor is told in full."""

    KINDS: ClassVar[tuple[str, ...]] = ("probe",)
    DEFAULT_CSS = """
    ProbeView #title { height: 1; }
    ProbeView #top { height: 1fr; layout: vertical; }
    ProbeView TracePlot { height: 1fr; width: 1fr; }
    ProbeView #side { height: auto; width: 100%; margin-bottom: 1; }
    ProbeView QuietTable { max-height: 45%; }
    ProbeView.-wide #top { layout: horizontal; }
    ProbeView.-wide #side { width: 44; height: 100%; border-left: solid $rule; padding: 0 0 0 2; margin-bottom: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "place(1)", "Site", id="probe.place", tooltip="the next site or position"),
        Binding("S", "place(-1)", "Site before", show=False, id="probe.place.before"),
        Binding(
            "m", "measure", "AUROC/accuracy", id="probe.measure", tooltip="plot AUROC with its interval, or accuracy beside the control's"
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.scores: dict[str, dict[int, ProbeCell]] = {}
        """By place, then layer."""
        self.places: list[str] = []
        self.depth = 0
        self.labels: list[str] = []
        self.probe = ""
        self.place = 0
        self.accuracy = False
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with Container(id="top"):
            yield TracePlot()
            yield Facts(id="side")
        yield QuietTable(COLUMNS)

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    def take(self, state: RunState, waiting: str) -> None:
        for cell in state.cells_of(ProbeCell).values():
            if cell.layer is not None and 0 <= cell.layer < MOST_LAYERS:
                self.scores.setdefault(clean(cell.place, limit=40), {})[cell.layer] = cell
            if cell.places:
                self.places = [clean(name, limit=40) for name in cell.places]
                self.depth = min(MOST_LAYERS, max(0, cell.layers or 0))
                self.labels = [clean(name, limit=24) for name in cell.classes]
                self.probe = clean(cell.probe, limit=24).replace("_", " ")
        self.waiting = "" if self.places else waiting

    async def draw_plots(self) -> None:
        plot, table = self.query_one(TracePlot), self.query_one(ListTable)
        for widget in (plot, table, self.query_one(Facts)):
            widget.display = bool(self.places)
        self.query_one("#title", Static).update(self._title())
        if not self.places:
            return
        colours = self.app.theme_variables
        muted, own = colours.get("muted", ""), colours.get(f"chain-{self.place % 8}", "")
        if self.accuracy:
            lines = [PlotLine("control", self._points(lambda cell: cell.control_accuracy), muted)]
            lines.append(PlotLine("accuracy", self._points(lambda cell: cell.accuracy), own))
        else:
            lines = [PlotLine(".", self._points(lambda cell: cell.auroc_low), muted)]
            lines.append(PlotLine(".", self._points(lambda cell: cell.auroc_high), muted))
            lines.append(PlotLine("*", self._points(lambda cell: cell.auroc), own))
        ascii = self.app.has_class("-ascii")
        chance = {} if self.accuracy else {"chance": 0.5}
        last = max(1, self.depth - 1)
        layer = self._layer
        await plot.draw(
            Plot(lines, 0, last, "layer", references=chance, cursor=layer, muted=muted, accent=colours.get("rule", ""), ascii=ascii)
        )

    def draw_tables(self) -> None:
        table = self.query_one(ListTable)
        shown = self._shown
        best = self._best()
        table.styles.height = 1 + max(1, self.depth)
        table.set_rows([layer_row(layer, cell, best=best == (self._named, layer)) for layer, cell in sorted(shown.items())])
        self.query_one(Facts).show(self._facts(), flat=not self.has_class("-wide"))

    # -- what is shown

    @property
    def _named(self) -> str:
        return self.places[self.place] if self.place < len(self.places) else ""

    @property
    def _shown(self) -> dict[int, ProbeCell]:
        return self.scores.get(self._named, {})

    @property
    def _layer(self) -> int | None:
        key = self.query_one(ListTable).key
        return int(key) if key is not None and key.isdigit() else None

    def _points(self, measure: Callable[[ProbeCell], float | None]) -> list[Point]:
        return [(layer, value) for layer, cell in sorted(self._shown.items()) if (value := measure(cell)) is not None]

    def _best(self) -> tuple[str, int] | None:
        facts = [
            (cell.auroc, place, layer) for place, layers in self.scores.items() for layer, cell in layers.items() if cell.auroc is not None
        ]
        # the first of equals, as the run's own result names it
        order = {place: index for index, place in enumerate(self.places)}
        facts.sort(key=lambda fact: (-fact[0], order.get(fact[1], len(order)), fact[2]))
        return (facts[0][1], facts[0][2]) if facts else None

    def _title(self) -> Text:
        muted, accent = (rich_style(self.app.theme_variables.get(name, "")) for name in ("muted", "accent"))
        text = Text(self.waiting, muted, end="", no_wrap=True, overflow="ellipsis")
        if not self.places:
            return text
        left, right = ("<", ">") if self.app.has_class("-ascii") else ("‹", "›")
        if len(self.places) > 1:
            for index, name in enumerate(self.places):
                here = index == self.place
                text.append(f"{left}{name}{right}" if here else f" {name} ", f"bold {accent}" if here else muted)
        else:
            text.append(self._named, f"bold {accent}")
        drawn = "accuracy, the control's in grey" if self.accuracy else "AUROC, 95 % interval in grey"
        text.append(f"   {drawn}; held-out rows", muted)
        return text

    def _facts(self) -> list[Fact]:
        layer, best = self._layer, self._best()
        cell = self._shown.get(layer) if layer is not None else None
        facts = [Fact("best", f"L{best[1]} {best[0]}", "good", loud=True)] if best else []
        if cell is None:
            return facts
        facts.append(Fact("cursor", f"L{layer} {self._named}", "accent"))
        facts.append(Fact("probe", self.probe, roomy=True))
        facts.append(Fact("AUROC", f"{number(cell.auroc, 3)}  {interval(cell)}", roomy=True))
        facts.append(Fact("accuracy", number(cell.accuracy, 3), roomy=True))
        facts.append(Fact("control", number(cell.control_accuracy, 3), roomy=True))
        if (gap := selectivity(cell)) is not None:
            facts.append(Fact("selectivity", f"{gap:+.3f}", "good" if gap > 0.1 else "bad"))
        if cell.p is not None:
            facts.append(Fact("p", f"{number(cell.p, 2)} among permuted labels", roomy=True))
        rows = self._confusion(cell)
        facts += [Fact("true, read as", rows, alone=True, roomy=True)] if rows else []
        if len(self.labels) == 2 and (wrong := _mistaken(cell, self.labels)):
            facts.append(Fact("mistaken", wrong) if not self.has_class("-wide") else Fact("", ""))
        return [fact for fact in facts if fact.value]

    def _confusion(self, cell: ProbeCell) -> str:
        counts = confusion_of(cell, len(self.labels))
        if not counts or len(self.labels) > MOST_CLASSES:
            return ""
        names = [name[:12] for name in self.labels]
        room = max(5, *(len(name) for name in names)) + 1
        lines = [" " * 13 + "".join(name.rjust(room) for name in names)]
        lines += [name.ljust(13) + "".join(str(count).rjust(room) for count in row) for name, row in zip(names, counts, strict=True)]
        return "\n".join(lines)

    # -- keys

    @on(ListTable.Highlighted)
    def _other_layer(self) -> None:
        self.post_message(self.LookChanged())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action == "place" and len(self.places) < 2)

    def action_place(self, by: int) -> None:
        self.place = (self.place + by) % max(1, len(self.places))
        self.post_message(self.LookChanged())

    def action_measure(self) -> None:
        self.accuracy = not self.accuracy
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(ProbeResult, result)
        best = stored.best
        if not best.site:
            return scalars(result, colours, ascii=ascii)
        rows = "   ".join(f"{clean(name, limit=24)} {number(count)}" for name, count in list(stored.classes.items())[:MOST_CLASSES])
        facts = [
            Fact("best", f"L{number(stored.best_layer)} {clean(best.site, limit=40)}", "good", loud=True),
            Fact("AUROC", f"{number(best.auroc, 3)}  {interval(best)}"),
            Fact("accuracy", number(best.accuracy, 3)),
            Fact("control", number(best.control_accuracy, 3)),
            Fact("selectivity", number(best.selectivity, 3)),
            Fact("rows", rows),
            Fact("larger class alone", number(stored.majority, 3)),
            Fact("best of permuted labels", number(best.permuted_auroc, 3)),
            Fact("p", number(best.family_p, 2)),
        ]
        return column(facts, colours)


def interval(scores: PlaceScores) -> str:
    """The AUROC's interval in words; empty where it is not known."""
    low, high = scores.auroc_low, scores.auroc_high
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def selectivity(scores: PlaceScores) -> float | None:
    """The labels' accuracy on the control task's folds, where it is known apart from that on the run's own, less the control's."""
    accuracy = scores.accuracy if scores.recurring_accuracy is None else scores.recurring_accuracy
    control = scores.control_accuracy
    return None if accuracy is None or control is None else round(accuracy - control, 3) + 0.0


def confusion_of(scores: PlaceScores, classes: int) -> Confusion:
    """The counts by true class and by the class read; empty where they are not what they should be."""
    rows = scores.confusion
    return rows if len(rows) == classes and all(len(row) == classes for row in rows) else ()


def _mistaken(scores: PlaceScores, classes: Sequence[str]) -> str:
    counts = confusion_of(scores, 2)
    if not counts:
        return ""
    parts = [f"{counts[i][1 - i]} of {sum(counts[i])} {classes[i]}" for i in range(2)]
    return ", ".join(parts)


def layer_row(layer: int, cell: PlaceScores, *, best: bool) -> Row:
    """One layer of a place as a table row."""
    gap = selectivity(cell)
    numbers = [f"{value:.3f}" if value is not None else "—" for value in (cell.auroc, cell.accuracy, cell.control_accuracy)]
    return Row(
        str(layer),
        (
            Cell(f"L{layer}", "good" if best else "foreground"),
            Cell(numbers[0], "good" if best else "foreground"),
            Cell(interval(cell), "muted"),
            Cell(on_unit(cell), "accent"),
            Cell(numbers[1]),
            Cell(numbers[2], "muted"),
            Cell(f"{gap:+.3f}" if gap is not None else "—", "good" if (gap or 0) > 0.1 else "bad"),
        ),
    )


def on_unit(scores: PlaceScores) -> str:
    """AUROC and its interval on an axis from 0 to 1, chance marked in the middle."""
    cells = [" "] * AXIS
    cells[(AXIS - 1) // 2] = "│"
    low, value, high = scores.auroc_low, scores.auroc, scores.auroc_high
    if low is None or value is None or high is None:
        return "".join(cells)
    first, at, last = (round(min(max(x, 0.0), 1.0) * (AXIS - 1)) for x in (low, value, high))
    for index in range(first, last + 1):
        cells[index] = "├" if index == first else "┤" if index == last else "─"
    cells[at] = "◆"
    return "".join(cells)
