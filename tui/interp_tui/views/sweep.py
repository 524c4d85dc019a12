"""A sweep: what its runs found, as a curve over one axis or a map over two, above a row for each run; enter opens that run.

A calibration is shown the same way, its settings as points below a verdict; so are the checkpoints of a development.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Static

from interp_tui.runs.headlines import answer
from interp_tui.runs.runstate import RunState
from interp_tui.terminal.themes import GLYPHS
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact, column, rich_style
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui.widgets.trace import Plot, PlotLine, TracePlot
from interp_tui_engine.numbers import as_finite
from interp_tui_engine.payload import read
from interp_tui_engine.results.calibrate import CalibrateResult
from interp_tui_engine.results.sampling import RunVerdict
from interp_tui_engine.results.sweep import PointRecord, SweepResult
from interp_tui_engine.runfolder import RunFolder

from .base import RunView, scalars

COLUMNS = (
    Column("point", 6),
    Column("values", 24, grow=1, most=70),
    Column("state", 12),
    Column("result", 24, grow=2),
)
COLOURS = {"done": "good", "usable": "good", "failed": "bad", "crashed": "bad", "interrupted": "muted", "control": "muted"}
SIGNS = GLYPHS | {"usable": "✓", "rejected": "✗", "control": "·"}
WELL = ("done", "usable", "control")
MOST_LINES = 8
NO_VERDICT = read(RunVerdict, {})
TOGETHER = "stages"
"""In place of a number: all of them in one figure, each over its own range."""


@dataclass(frozen=True)
class SweepPoint:
    """One point that has ended."""

    index: int
    values: Mapping[str, Any]
    state: str
    folder: str
    headline: Mapping[str, Any]
    reason: str


class SweepView(RunView):
    """The chosen number over the axes, and a table of the points so far."""

    KINDS: ClassVar[tuple[str, ...]] = ("sweep", "calibrate", "development")
    DEFAULT_CSS = """
    SweepView #figure { height: 1fr; min-height: 6; }
    SweepView #conclusion { height: auto; max-height: 8; margin-bottom: 1; }
    SweepView #title { height: 1; }
    SweepView #points { height: auto; max-height: 50%; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric(1)", "Number", id="sweep.metric", tooltip="show the next number of the runs' results"),
        Binding("M", "metric(-1)", "Number before", show=False, id="sweep.metric.before"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.results: list[SweepPoint] = []
        self.verdict = NO_VERDICT
        self.waiting = ""
        self.metric = 0
        self.kind = ""

    def compose(self) -> ComposeResult:
        yield Static(id="conclusion")
        yield Static(id="title")
        with Container(id="figure"):
            yield TracePlot(id="trace")
            yield Heatmap(id="map")
        yield ListTable(COLUMNS, id="points")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        self.results = [result_of(index, point) for index, point in state.cases_of(PointRecord).items()]
        self.verdict = state.newest("verdict", RunVerdict)
        self.kind = state.kind
        self.waiting = waiting if not self.results else ""

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The swept keys and the values seen of each, in the order of the points."""
        by_axis: dict[str, list[Any]] = {}
        for result in self.results:
            for key, value in result.values.items():
                seen = by_axis.setdefault(key, [])
                if value not in seen:
                    seen.append(value)
        return by_axis

    @property
    def metrics(self) -> list[str]:
        """The numbers that the runs' headlines hold; for a development, first all in one figure."""
        names: dict[str, None] = {TOGETHER: None} if self.kind == "development" and self.results else {}
        for result in self.results:
            names |= {name: None for name, value in result.headline.items() if as_finite(value) is not None}
        return list(names)

    async def draw_plots(self) -> None:
        trace, heat, title = self.query_one(TracePlot), self.query_one(Heatmap), self.query_one("#title", Static)
        colours, metrics, axes = self.app.theme_variables, self.metrics, self.axes
        name = metrics[self.metric % len(metrics)] if metrics else ""
        longest = sorted(axes, key=lambda key: -len(axes[key]))[:2]  # the axes there is most to see along
        mapped = len(longest) == 2 and len(axes[longest[1]]) > 1
        trace.display, heat.display = not mapped, mapped
        title.update(self._title(name, sorted(longest, key=list(axes).index) if mapped else longest[:1]))
        if not name:
            trace.update(Text(self.waiting or "no run has given a number yet", rich_style(colours.get("muted", ""))))
        elif mapped:
            down, across = sorted(longest, key=list(axes).index)
            heat.corner = f"{short(down)} ↓  {short(across)} →"
            heat.show(grid_of(self.results, down, across, axes, name))
        else:
            key = longest[0]
            names = [name] if name != TOGETHER else self._staged
            together = name == TOGETHER
            lines = [self._line(at, name_shown, key, own_range=together) for at, name_shown in enumerate(names)]
            lines += [bar for at, name_shown in enumerate(names) for bar in self._bars(at, name_shown, key, own_range=together)]
            muted, accent = colours.get("muted", ""), colours.get("accent", "")
            ticks, last = ticks_of([shown(value) for value in axes[key]], trace.columns), len(axes[key]) - 1
            ascii = self.app.has_class("-ascii")
            await trace.draw(Plot(lines, start=-0.5, stop=last + 0.5, x_ticks=ticks, muted=muted, accent=accent, ascii=ascii))

    @property
    def _staged(self) -> list[str]:
        """What a figure of all numbers shows: those that say something of the model."""
        return [name for name in self.metrics if name not in (TOGETHER, "rhat", "ess") and not name.endswith("_std_error")][:MOST_LINES]

    def _line(self, at: int, name: str, key: str, *, own_range: bool) -> PlotLine:
        known = [(r, v) for r in self.results if (v := as_finite(r.headline.get(name))) is not None]
        low = min((v for _, v in known), default=0.0) if own_range else 0.0
        span = (max((v for _, v in known), default=1.0) - low or 1.0) if own_range else 1.0
        points = [(float(self.axes[key].index(r.values[key])), (v - low) / span) for r, v in known]
        return PlotLine(name, points, self.app.theme_variables.get(f"chain-{at}", ""), str(at) if self.app.has_class("-ascii") else None)

    def _bars(self, at: int, name: str, key: str, *, own_range: bool) -> list[PlotLine]:
        """A standard error up and down from each point that has one."""
        line = self._line(at, name, key, own_range=own_range)
        values = [v for r in self.results if (v := as_finite(r.headline.get(name))) is not None]
        span = (max(values, default=1.0) - min(values, default=0.0) or 1.0) if own_range else 1.0
        known = [r for r in self.results if as_finite(r.headline.get(name)) is not None]
        errors = [as_finite(r.headline.get(error_of(name))) for r in known]
        return [
            PlotLine("", [(x, y - e / span), (x, y + e / span)], line.colour, line.marker)
            for (x, y), e in zip(line.points, errors, strict=True)
            if e
        ]

    def draw_tables(self) -> None:
        table = self.query_one(ListTable)
        table.display = bool(self.results)
        ascii, verdict = self.app.has_class("-ascii"), self.query_one("#conclusion", Static)
        verdict.display = bool(self.verdict.text)
        verdict.update(verdict_text(self.verdict, self.app.theme_variables))
        table.set_rows([row_of(result, ascii=ascii) for result in self.results])

    def _title(self, name: str, keys: Sequence[str]) -> Text:
        muted = rich_style(self.app.theme_variables.get("muted", ""))
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        if name and name != TOGETHER:
            text.append(clean(name)).append(f" over {' and '.join(short(key) for key in keys)}", muted)
        for at, stage in enumerate(self._staged if name == TOGETHER else ()):
            sign = f"{at} " if self.app.has_class("-ascii") else ""
            text.append(f"{sign}{clean(stage, limit=24)}  ", rich_style(self.app.theme_variables.get(f"chain-{at}", "")))
        failed = sum(result.state in ("failed", "crashed") for result in self.results)
        if failed:
            text.append(f"   {failed} failed", rich_style(self.app.theme_variables.get("bad", "")))
        return text

    def action_metric(self, by: int) -> None:
        self.metric += by
        self.post_message(self.LookChanged())

    @on(ListTable.Selected)
    def _open_row(self, event: ListTable.Selected) -> None:
        self._open(next((result for result in self.results if str(result.index) == event.key), None))

    @on(Heatmap.Selected)
    def _open_cell(self, event: Heatmap.Selected) -> None:
        axes = self.axes
        down, across = sorted(sorted(axes, key=lambda key: -len(axes[key]))[:2], key=list(axes).index)
        here = (axes[down][event.row], axes[across][event.column])
        self._open(next((result for result in self.results if (result.values[down], result.values[across]) == here), None))

    def _open(self, result: SweepPoint | None) -> None:
        if result is not None and result.folder and self.folder is not None:
            self.open_child(RunFolder(self.folder.path / result.folder), f"point {result.index:03d}", result.state)

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        if "cells" in result:
            calibrated = read(CalibrateResult, result)
            return verdict_text(RunVerdict(text=calibrated.verdict, usable=calibrated.usable, reasons=calibrated.reasons), colours)
        if "points" not in result:
            return scalars(result, colours, ascii=ascii)
        results = [result_of(index, point) for index, point in enumerate(read(SweepResult, result).points)]
        done = sum(point.state == "done" for point in results)
        text = column([Fact("points", str(len(results))), Fact("done", str(done), "good" if done == len(results) else "")], colours)
        for point in results:
            numbers = answer("", point.headline, ascii=ascii, most=4)
            text.append(f"\n{point.index:03d}  {said_values(point.values):<40} {point.state:<12} {numbers}")
        return text


def verdict_text(verdict: RunVerdict, colours: Mapping[str, str]) -> Text:
    """The verdict in its colour, and its reasons below it."""
    text = Text(end="")
    if verdict.text:
        good = verdict.usable is True
        text.append(f"{'✓' if good else '✗'} {clean(verdict.text)}", rich_style(colours.get("good" if good else "bad", "")))
        for reason in verdict.reasons:
            text.append(f"\n  {clean(reason)}", rich_style(colours.get("muted", "")))
    return text


def result_of(index: int, point: PointRecord) -> SweepPoint:
    """A point as an event or a result told of it."""
    safe = f"points/{index:03d}" if point.folder else ""  # never a path that a log could have been made to hold
    return SweepPoint(index, point.values, clean(point.state), safe, point.headline, clean(point.reason))


def error_of(name: str) -> str:
    """The number that is a number's standard error."""
    return f"{name.removesuffix('_mean')}_std_error"


def row_of(result: SweepPoint, *, ascii: bool) -> Row:
    """A point's row: its numbers, or why there are none."""
    numbers = answer("", result.headline, ascii=ascii, most=4)
    outcome = numbers if result.state in WELL else "  ".join(part for part in (result.reason, numbers) if part)
    state = f"{SIGNS.get(result.state, '')} {result.state}".strip()
    cells = (
        Cell(f"{result.index:03d}"),
        Cell(said_values(result.values)),
        Cell(state, COLOURS.get(result.state, "foreground")),
        Cell(clean(outcome), "foreground" if result.state in WELL else "muted"),
    )
    return Row(str(result.index), cells)


def grid_of(results: Sequence[SweepPoint], down: str, across: str, axes: Mapping[str, list[Any]], name: str) -> Grid:
    """The number by two axes; where further axes give a cell several runs, their mean."""
    cells: dict[tuple[int, int], list[float]] = {}
    for result in results:
        if (value := as_finite(result.headline.get(name))) is not None:
            cells.setdefault((axes[down].index(result.values[down]), axes[across].index(result.values[across])), []).append(value)
    means = {place: sum(at_place) / len(at_place) for place, at_place in cells.items()}
    values = [[means.get((i, j)) for j in range(len(axes[across]))] for i in range(len(axes[down]))]
    return Grid([shown(value) for value in axes[down]], [shown(value) for value in axes[across]], values, Scale.of(means.values()))


def ticks_of(labels: Sequence[str], columns: int) -> dict[float, str]:
    """The labels at 0, 1, 2, …, as many as `columns` have room for, the first always among them."""
    widest = max(len(label) for label in labels) + 1
    every = next((k for k in range(1, len(labels)) if k * columns // len(labels) >= widest), len(labels))
    return {float(index): label for index, label in enumerate(labels) if index % every == 0}


def said_values(values: Mapping[str, Any]) -> str:
    """`lr 1e-4  revision final`."""
    return "  ".join(f"{short(key)} {shown(value)}" for key, value in values.items())


def short(key: str) -> str:
    """The last part of a swept key."""
    return clean(key.rsplit(".", 1)[-1], limit=24)


def shown(value: Any) -> str:
    """A swept value in few characters."""
    return number(value) if isinstance(value, float) else clean(str(value), limit=24)
