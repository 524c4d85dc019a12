"""Lines over a numeric axis, drawn with plotext: loss traces and the like. Takes plain values, thinned to the width they are drawn at."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import plotext
from rich.text import Text
from textual.color import Color
from textual.message import Message
from textual.widgets import Static

from interp_tui.terminal.guard import Guarded

Point = tuple[float, float]

POINTS_AT_MOST = 800
"""Points in one drawing, all lines together: plotext takes about 30 ms for them."""

# plotext keeps its figure in a module, and drawing runs in worker threads
_plotext_lock = threading.Lock()

# plotext drops repeated ticks by way of a set, so that labels close to each other stood a cell apart from one start of Python to the next
if hasattr(plotext, "_utility"):
    plotext._utility.no_duplicates = lambda data: [*dict.fromkeys(data)]


@dataclass(frozen=True)
class PlotLine:
    """One line; `marker` None means braille, or the label's last character where only ASCII may be drawn."""

    label: str
    points: Sequence[Point]
    colour: str
    marker: str | None = None


@dataclass(frozen=True)
class Plot:
    """Everything one drawing shows. Colours are theme variables' values; an unparsable one means the terminal's own."""

    lines: Sequence[PlotLine] = ()
    start: float = 0.0
    stop: float = 1.0
    x_label: str = ""
    x_ticks: Mapping[float, str] = field(default_factory=dict)
    """What stands below the x axis and where; the ends and `x_label` when empty."""
    log: bool = False
    references: Mapping[str, float] = field(default_factory=dict)
    """Horizontal lines by label, such as the loss at the initial weights."""
    marks: Mapping[str, float] = field(default_factory=dict)
    """Vertical lines by label, such as the end of burn-in."""
    cursor: float | None = None
    muted: str = ""
    accent: str = ""
    ascii: bool = False


class TracePlot(Guarded, Static):
    """Draws a `Plot` to its own size, in a thread."""

    DEFAULT_CSS = """
    TracePlot { height: 1fr; min-height: 4; }
    """

    class Resized(Message):
        """There is more or less room: draw again."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    @property
    def columns(self) -> int:
        """How many columns lines have to themselves."""
        return max(10, self.size.width - LABEL_WIDTH - 2)

    async def draw(self, plot: Plot) -> None:
        """Show `plot`. Awaiting it keeps the event loop free while plotext works."""
        width, height = self.size
        if width < 20 or height < 4:
            self.update("")
            return
        self.update(await asyncio.to_thread(render, plot, width, height))


LABEL_WIDTH = 7
"""Columns of the y labels, whatever the numbers: the canvas must not shift when they change."""


def columns_for(lines: int, width: int) -> int:
    """How many columns each of `lines` lines is thinned to (two points a column) so that drawing stays quick."""
    return max(12, min(width, POINTS_AT_MOST // (2 * max(1, lines))))


def render(plot: Plot, width: int, height: int) -> Text:
    """`plot` as text of the given size."""
    if plot.log:
        positive = [replace(line, points=[point for point in line.points if point[1] > 0]) for line in plot.lines]
        plot = replace(plot, lines=positive, references={label: y for label, y in plot.references.items() if y > 0})
    values = [y for line in plot.lines for _, y in line.points]
    if not values:
        return Text("")
    wanted = max(3, height // 4)
    low, high, ticks = (log_axis if plot.log else y_axis)([*values, *plot.references.values()], wanted)
    if plot.log:
        low, high, ticks = math.log10(low), math.log10(high), [(math.log10(y), label) for y, label in ticks]
        logged = [replace(line, points=[(x, math.log10(y)) for x, y in line.points]) for line in plot.lines]
        plot = replace(plot, lines=logged, references={label: math.log10(y) for label, y in plot.references.items()})
    with _plotext_lock:
        drawn = _build(plot, width, height, low, high, ticks)
    text = Text.from_ansi(drawn, no_wrap=True, end="")
    text.right_crop(max(0, len(text) - len(text.plain.rstrip("\n"))))
    return text


def _build(plot: Plot, width: int, height: int, low: float, high: float, ticks: list[tuple[float, str]]) -> str:
    figure: Any = plotext
    figure.clear_figure()
    figure.limitsize(False, False)  # to the terminal plotext thinks it is in
    figure.plotsize(width, height)
    figure.theme("clear")
    muted, accent = _colour(plot.muted), _colour(plot.accent)
    figure.ticks_color(muted)
    figure.xaxes(True, False)
    figure.yaxes(True, False)
    figure.xlim(plot.start, max(plot.stop, plot.start + 1))
    figure.ylim(low, high)
    figure.yticks([y for y, _ in ticks], [label.rjust(LABEL_WIDTH - 1) for _, label in ticks])
    below = plot.x_ticks or {plot.start: f"{plot.start:,.0f}", plot.stop: f"{plot.stop:,.0f} {plot.x_label}"}
    figure.xticks(list(below), list(below.values()))
    cells = 2 * width  # more than there are columns, so that every cell gets its dot
    for y in plot.references.values():
        xs = [plot.start + i * (plot.stop - plot.start) / cells for i in range(cells + 1)]
        figure.scatter(xs, [y] * len(xs), marker="." if plot.ascii else "·", color=muted)
    for x in plot.marks.values():
        figure.vline(x, muted)
    for line in plot.lines:
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        if xs:
            marker = line.marker or (line.label[-1:] or "*" if plot.ascii else "braille")
            figure.plot(xs, ys, marker=marker, color=_colour(line.colour))
    if plot.cursor is not None:
        figure.vline(plot.cursor, accent)
    built: str = figure.build()
    if plot.ascii:
        built = built.translate(ASCII_FRAME)
    return built


ASCII_FRAME = str.maketrans({"│": "|", "┤": "+", "└": "+", "┬": "+", "─": "-", "┴": "+", "┼": "+", "├": "+"})


Axis = tuple[float, float, list[tuple[float, str]]]
"""Lower bound, upper bound, and ticks with their labels."""


def y_axis(values: Sequence[float], wanted: int) -> Axis:
    """Round bounds around the values and labelled ticks between them; bounds move in steps, so that the axis rarely changes."""
    low, high = min(values), max(values)
    # values closer than floats or labels can tell apart are one value, with some air around it
    spread = high - low if high - low > max(1e-30, 1e-12 * max(abs(low), abs(high))) else max(abs(high) * 0.02, 1e-9)
    fine, coarse = _nice(spread / 8), _nice(spread / wanted)
    low, high = math.floor(low / fine - 0.1) * fine, math.ceil(high / fine + 0.1) * fine
    first, last = math.ceil(low / coarse - 1e-6), math.floor(high / coarse + 1e-6)
    ticks = [index * coarse for index in range(first, last + 1)]
    return low, high, [(y, _label(y, coarse)) for y in ticks]


def log_axis(values: Sequence[float], wanted: int) -> Axis:
    """As `y_axis`, for positive values on a logarithmic axis: powers of ten where they span some, else the same round numbers."""
    low, high = min(values), max(values)
    if high < 10 * low:
        below, above, ticks = y_axis(values, wanted)
        return (below if below > 0 else low * 0.9), above, [(y, label) for y, label in ticks if y > 0]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, round((last - first) / wanted))
    return 10.0**first, 10.0**last, [(10.0**power, _label(10.0**power, 10.0**power)) for power in range(first, last + 1, every)]


def _nice(step: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def _label(value: float, step: float) -> str:
    """`value` to the decimals that tell ticks `step` apart, in at most six characters."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    text = f"{value + 0.0:.{decimals}f}"
    for shorter in (f"{value:.1e}", f"{value:.0e}"):
        if len(text) > LABEL_WIDTH - 1:
            text = shorter.replace("e-0", "e-").replace("e+0", "e")
    return text


def _colour(value: str) -> Any:
    try:
        colour = Color.parse(value)
    except Exception:  # Textual raises its own parse error, and ValueError for some
        return "default"
    return "default" if colour.ansi is not None else colour.rgb
