"""Probes: how well a label can be read off each layer, beside what a control task reads there, and what the chosen probe mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from interp_tui_engine.numbers import as_finite as finite

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
Told = Mapping[str, Any]


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
        self.told: dict[str, dict[int, Told]] = {}
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
        for batch in state.cells.values():
            place, layer = clean(str(batch.get("place")), limit=40), batch.get("layer")
            if type(layer) is int and 0 <= layer < 10_000:
                self.told.setdefault(place, {})[layer] = batch
            if isinstance(batch.get("places"), list):
                self.places = [clean(str(name), limit=40) for name in batch["places"]]
                self.depth = min(10_000, int(finite(batch.get("layers")) or 0))
                classes = batch.get("classes")
                self.labels = [clean(str(name), limit=24) for name in classes] if isinstance(classes, list) else []
                self.probe = clean(str(batch.get("probe", "")), limit=24).replace("_", " ")
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
            lines = [PlotLine("control", self._points("control_accuracy"), muted), PlotLine("accuracy", self._points("accuracy"), own)]
        else:
            ends = [PlotLine(".", self._points(name), muted) for name in ("auroc_low", "auroc_high")]
            lines = [*ends, PlotLine("*", self._points("auroc"), own)]
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
        table.set_rows([layer_row(layer, told, best=best == (self._named, layer)) for layer, told in sorted(shown.items())])
        self.query_one(Facts).show(self._facts(), flat=not self.has_class("-wide"))

    # -- what is shown

    @property
    def _named(self) -> str:
        return self.places[self.place] if self.place < len(self.places) else ""

    @property
    def _shown(self) -> dict[int, Told]:
        return self.told.get(self._named, {})

    @property
    def _layer(self) -> int | None:
        key = self.query_one(ListTable).key
        return int(key) if key is not None and key.isdigit() else None

    def _points(self, name: str) -> list[Point]:
        return [(layer, value) for layer, told in sorted(self._shown.items()) if (value := finite(told.get(name))) is not None]

    def _best(self) -> tuple[str, int] | None:
        found = [
            (value, place, layer)
            for place, layers in self.told.items()
            for layer, told in layers.items()
            if (value := finite(told.get("auroc"))) is not None
        ]
        # the first of equals, as the run's own result names it
        order = {place: index for index, place in enumerate(self.places)}
        found.sort(key=lambda one: (-one[0], order.get(one[1], len(order)), one[2]))
        return (found[0][1], found[0][2]) if found else None

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
        said = "accuracy, the control's in grey" if self.accuracy else "AUROC, 95 % interval in grey"
        text.append(f"   {said}; held-out rows", muted)
        return text

    def _facts(self) -> list[Fact]:
        layer, best = self._layer, self._best()
        told = self._shown.get(layer) if layer is not None else None
        facts = [Fact("best", f"L{best[1]} {best[0]}", "good", loud=True)] if best else []
        if told is None:
            return facts
        accuracy, control = finite(told.get("accuracy")), finite(told.get("control_accuracy"))
        facts.append(Fact("cursor", f"L{layer} {self._named}", "accent"))
        facts.append(Fact("probe", self.probe, roomy=True))
        facts.append(Fact("AUROC", f"{number(finite(told.get('auroc')), 3)}  {interval(told)}", roomy=True))
        facts.append(Fact("accuracy", number(accuracy, 3), roomy=True))
        facts.append(Fact("control", number(control, 3), roomy=True))
        if (gap := selectivity(told)) is not None:
            facts.append(Fact("selectivity", f"{gap:+.3f}", "good" if gap > 0.1 else "bad"))
        if (p := finite(told.get("p"))) is not None:
            facts.append(Fact("p", f"{number(p, 2)} among permuted labels", roomy=True))
        rows = self._confusion(told)
        facts += [Fact("true, read as", rows, alone=True, roomy=True)] if rows else []
        if len(self.labels) == 2 and (wrong := _mistaken(told, self.labels)):
            facts.append(Fact("mistaken", wrong) if not self.has_class("-wide") else Fact("", ""))
        return [fact for fact in facts if fact.value]

    def _confusion(self, told: Told) -> str:
        counts = confusion_of(told, len(self.labels))
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
        best = result.get("best")
        if not isinstance(best, Mapping):
            return scalars(result, colours, ascii=ascii)
        classes = result.get("classes")
        counted = classes if isinstance(classes, Mapping) else {}
        rows = "   ".join(f"{clean(str(name), limit=24)} {number(count)}" for name, count in list(counted.items())[:MOST_CLASSES])
        facts = [
            Fact("best", f"L{number(result.get('best_layer'))} {clean(str(best.get('site')), limit=40)}", "good", loud=True),
            Fact("AUROC", f"{number(finite(best.get('auroc')), 3)}  {interval(best)}"),
            Fact("accuracy", number(finite(best.get("accuracy")), 3)),
            Fact("control", number(finite(best.get("control_accuracy")), 3)),
            Fact("selectivity", number(finite(best.get("selectivity")), 3)),
            Fact("rows", rows),
            Fact("larger class alone", number(finite(result.get("majority")), 3)),
            Fact("best of permuted labels", number(finite(best.get("permuted_auroc")), 3)),
            Fact("p", number(finite(best.get("family_p")), 2)),
        ]
        return column(facts, colours)


def interval(told: Told) -> str:
    """The AUROC's interval in words; empty where it is not known."""
    low, high = finite(told.get("auroc_low")), finite(told.get("auroc_high"))
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def selectivity(told: Told) -> float | None:
    """The labels' accuracy on the control task's folds, where it is known apart from that on the run's own, less the control's."""
    accuracy, control = (finite(told.get(name)) for name in ("recurring_accuracy", "control_accuracy"))
    accuracy = finite(told.get("accuracy")) if accuracy is None else accuracy
    return None if accuracy is None or control is None else round(accuracy - control, 3) + 0.0


def confusion_of(told: Told, classes: int) -> list[list[int]]:
    """The counts by true class and by the class read; empty where they are not what they should be."""
    rows = told.get("confusion")
    good = isinstance(rows, list) and len(rows) == classes and all(isinstance(row, list) and len(row) == classes for row in rows)
    return [[int(finite(count) or 0) for count in row] for row in rows] if good and isinstance(rows, list) else []


def _mistaken(told: Told, classes: Sequence[str]) -> str:
    counts = confusion_of(told, 2)
    if not counts:
        return ""
    parts = [f"{counts[i][1 - i]} of {sum(counts[i])} {classes[i]}" for i in range(2)]
    return ", ".join(parts)


def layer_row(layer: int, told: Told, *, best: bool) -> Row:
    """One layer of a place as a table row."""
    score, accuracy, control = (finite(told.get(name)) for name in ("auroc", "accuracy", "control_accuracy"))
    gap = selectivity(told)
    said = [f"{value:.3f}" if value is not None else "—" for value in (score, accuracy, control)]
    return Row(
        str(layer),
        (
            Cell(f"L{layer}", "good" if best else "foreground"),
            Cell(said[0], "good" if best else "foreground"),
            Cell(interval(told), "muted"),
            Cell(on_unit(told), "accent"),
            Cell(said[1]),
            Cell(said[2], "muted"),
            Cell(f"{gap:+.3f}" if gap is not None else "—", "good" if (gap or 0) > 0.1 else "bad"),
        ),
    )


def on_unit(told: Told) -> str:
    """AUROC and its interval on an axis from 0 to 1, chance marked in the middle."""
    cells = [" "] * AXIS
    cells[(AXIS - 1) // 2] = "│"
    low, value, high = (finite(told.get(name)) for name in ("auroc_low", "auroc", "auroc_high"))
    if low is None or value is None or high is None:
        return "".join(cells)
    first, at, last = (round(min(max(x, 0.0), 1.0) * (AXIS - 1)) for x in (low, value, high))
    for index in range(first, last + 1):
        cells[index] = "├" if index == first else "┤" if index == last else "─"
    cells[at] = "◆"
    return "".join(cells)
