"""Several runs in one picture: their curves over each other, each in a colour of its own with its band, or one's grid less another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from interp_tui.runs import grids
from interp_tui.runs.curves import RunCurve
from interp_tui.runs.grids import LabelledGrid
from interp_tui.terminal.guard import Guarded
from interp_tui.text.numbers import number
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import rich_style
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.trace import Plot, PlotLine, TracePlot

COLOURS = 8


@dataclass(frozen=True)
class Drawn:
    """One run's figures by name. Its colour follows from its place among the runs, and stays."""

    name: str
    curves: Mapping[str, RunCurve] = field(default_factory=dict)
    grids: Mapping[str, LabelledGrid] = field(default_factory=dict)


@dataclass(frozen=True)
class SharedFigure:
    """A picture that the runs make together: a curve of every run that has it, or the grids of the first two. One run has its own."""

    name: str
    is_grid: bool = False
    axis: str = ""
    """What x counts, of curves: a loss by draws and one by training steps are not one quantity."""


def figures(runs: Sequence[Drawn]) -> list[SharedFigure]:
    """Curves that two runs have over the same axis, then grids of the first two that share rows and columns; all that one run alone has."""
    if len(runs) == 1:
        (run,) = runs
        own = [SharedFigure(name, axis=curve.axis) for name, curve in run.curves.items()]
        return [*own, *(SharedFigure(name, True) for name in run.grids)]
    curves = [(name, curve.axis) for run in runs for name, curve in run.curves.items()]
    figures = [SharedFigure(name, axis=axis) for name, axis in dict.fromkeys(curves) if curves.count((name, axis)) > 1]
    if len(runs) > 1:
        left, right = runs[0].grids, runs[1].grids
        figures += [SharedFigure(name, True) for name in left if name in right and grids.difference(left[name], right[name]) is not None]
    return figures


class Overlay(Guarded, Vertical, can_focus=True):
    """Shows one figure at a time. The cursor stands at the same x of every curve, and reads all of them."""

    DEFAULT_CSS = """
    Overlay { height: 1fr; min-height: 7; padding: 0 1; }
    Overlay:focus { background-tint: transparent; }
    Overlay > #overlay-title { height: auto; max-height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "figure(1)", "Figure", id="overlay.figure", tooltip="the next curve or grid that the runs share"),
        Binding("V", "figure(-1)", "Figure before", show=False, id="overlay.figure.before"),
        Binding("left", "cursor(-1)", "Read", key_display="←→", id="overlay.cursor.left"),
        Binding("right", "cursor(1)", "Cursor right", show=False, id="overlay.cursor.right"),
        Binding("shift+left", "cursor(-10)", "Cursor left by ten", show=False, id="overlay.cursor.left10"),
        Binding("shift+right", "cursor(10)", "Cursor right by ten", show=False, id="overlay.cursor.right10"),
        *(Binding(str(n), f"bright({n})", "One run bright", key_display="1-9", show=n == 1, id=f"overlay.run.{n}") for n in range(1, 10)),
        Binding("0", "bright(0)", "All runs alike", show=False, id="overlay.run.0"),
    ]

    def __init__(self, *, steps: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.steps = steps
        """Whether keys go to the other figures."""
        self.runs: Sequence[Drawn] = ()
        self.figures: list[SharedFigure] = []
        self.shown = 0
        self.bright: int | None = None
        self.cursor: float | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="overlay-title")
        yield TracePlot(id="overlay-plot")
        yield Heatmap(id="overlay-grid")

    def show(self, runs: Sequence[Drawn]) -> None:
        """Lay these runs over each other; `figures` is empty where they have nothing to lay."""
        self.runs, self.figures = runs, figures(runs)
        self.shown = min(self.shown, max(0, len(self.figures) - 1))
        self.display = bool(self.figures)
        self.draw()

    @property
    def figure(self) -> SharedFigure | None:
        return self.figures[self.shown] if self.figures else None

    @work(exclusive=True, group="overlay")
    async def draw(self) -> None:
        """Draw the figure that shows."""
        figure = self.figure
        if figure is None:
            return
        plot, heatmap = self.query_one(TracePlot), self.query_one(Heatmap)
        plot.display, heatmap.display = not figure.is_grid, figure.is_grid
        self.query_one("#overlay-title", Static).update(self._title(figure))
        if figure.is_grid:
            self._draw_grid(figure)
        else:
            await plot.draw(self._plot(figure))

    def _draw_grid(self, figure: SharedFigure) -> None:
        first, *rest = [run.grids[figure.name] for run in self.runs[:2]]
        grid = grids.difference(first, rest[0]) if rest else first
        if grid is not None:
            scale = Scale.of([value for row in grid.values for value in row])
            self.query_one(Heatmap).show(Grid(grid.rows, grid.columns, grid.values, scale, least=6))

    def _plot(self, figure: SharedFigure) -> Plot:
        colours = self.app.theme_variables
        curves = self._curves(figure)
        curves.sort(key=lambda item: item[0] == self.bright)
        lines = []
        for place, curve in curves:
            colour = colours.get(f"chain-{place % COLOURS}", "") if self.bright in (None, place) else colours.get("muted", "")
            sides = [PlotLine(str(place + 1), side, colour, marker="." if self._ascii else "·") for side in (curve.low, curve.high) if side]
            lines += [*sides, PlotLine(str(place + 1), curve.points, colour)]
        start, stop = self._ends(figure)
        axis = curves[0][1].axis
        muted, accent = colours.get("muted", ""), colours.get("accent", "")
        return Plot(lines=lines, start=start, stop=stop, x_label=axis, cursor=self.cursor, muted=muted, accent=accent, ascii=self._ascii)

    def _curves(self, figure: SharedFigure) -> list[tuple[int, RunCurve]]:
        """The figure's curve of each run that has it, with the run's place."""
        curves = [(place, run.curves.get(figure.name)) for place, run in enumerate(self.runs)]
        return [(place, curve) for place, curve in curves if curve is not None and curve.axis == figure.axis]

    def _ends(self, figure: SharedFigure) -> tuple[float, float]:
        points = [x for _, curve in self._curves(figure) for x, _ in curve.points]
        return min(points), max(points)

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    def _title(self, figure: SharedFigure) -> Text:
        """Which figure, in which unit; which run has which colour, and what it is under the cursor."""
        colours = self.app.theme_variables
        muted = rich_style(colours.get("muted", ""))
        many = f"  ({self.shown + 1} of {len(self.figures)})" if self.steps and len(self.figures) > 1 else ""
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        if figure.is_grid:
            less = f"   {self.runs[1].name} less {self.runs[0].name}" if len(self.runs) > 1 else ""
            text.append(figure.name, rich_style(colours.get("accent", "")))
            text.append(f"{less}{many}", muted)
            return text
        curves = self._curves(figure)
        bands = {curve.band for _, curve in curves} - {""}
        text.append(figure.name, rich_style(colours.get("accent", "")))
        text.append(f"   dots: {', '.join(sorted(bands))}{many}" if bands else many, muted)
        if self.cursor is not None:
            text.append(f"   at {number(int(self.cursor))}", rich_style(colours.get("accent", ""), bold=True))
        text.append("\n")
        for place, curve in curves:
            bright = self.bright in (None, place)
            style = rich_style(colours.get(f"chain-{place % COLOURS}", "")) if bright else muted
            text.append(f"{place + 1} {self.runs[place].name}" if len(self.runs) > 1 else "", style)
            text.append(f" {self._read(curve)}   " if self.cursor is not None else "   ", "" if bright else muted)
        return text

    def _read(self, curve: RunCurve) -> str:
        here = curve.at(self.cursor) if self.cursor is not None else None
        if here is None:
            return "—"
        return number(here[0]) + (f" ± {number(here[1], 2)}" if here[1] is not None else "")

    def action_figure(self, by: int) -> None:
        if self.figures:
            self.go_to((self.shown + by) % len(self.figures))

    def go_to(self, place: int) -> None:
        """Show the figure at this place, and give it the keys."""
        self.shown, self.cursor = place, None
        if self.figures[place].is_grid:
            self.call_after_refresh(self.query_one(Heatmap).focus)
        else:
            self.focus()
        self.draw()

    def action_bright(self, number: int) -> None:
        """Draw one run in its colour and the others dimmed; the same again, or 0, draws all alike."""
        place = number - 1
        self.bright = place if 0 <= place < len(self.runs) and place != self.bright else None
        self.draw()

    def action_cursor(self, by: int) -> None:
        """Move the cursor by so many columns; past an end it goes away."""
        figure = self.figure
        if figure is None or figure.is_grid:
            return
        start, stop = self._ends(figure)
        step = (stop - start) / max(1, self.query_one(TracePlot).columns)
        here = self.cursor + by * step if self.cursor is not None else stop if by < 0 else start
        self.cursor = here if start - step / 2 <= here <= stop + step / 2 else None
        self.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        figure = self.figure
        if action == "figure":
            return self.steps and len(self.figures) > 1
        if action == "bright" and len(self.runs) < 2:
            return False
        return figure is not None and not figure.is_grid if action in ("cursor", "bright") else True

    @on(TracePlot.Resized)
    def _has_room(self) -> None:
        self.draw()

    def copied(self) -> str:
        """What the figure's title says, with what is under the cursor."""
        figure = self.figure
        return self._title(figure).plain if figure is not None else ""
