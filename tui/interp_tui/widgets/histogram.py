"""Counts as bars over a numeric axis, drawn in eighths of a cell. Takes plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from interp_tui.terminal.guard import Guarded

from .facts import rich_style

EIGHTHS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*%#"


@dataclass(frozen=True)
class Histogram:
    """Bars of equal width from `low` to `high`; `ticks` are (where, label)."""

    counts: Sequence[int]
    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()


class HistogramPlot(Guarded, Static):
    """Draws a `Histogram` to its own size: bars, and the axis below them."""

    DEFAULT_CSS = """
    HistogramPlot { height: 5; width: 1fr; }
    """

    class Resized(Message):
        """There is more or less room: draw again."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    def draw(self, histogram: Histogram | None, *, accent: str, muted: str, ascii: bool) -> None:
        """Show `histogram`; nothing where it is None or there is no room."""
        width, height = self.size
        if histogram is None or not histogram.counts or width < 8 or height < 2:
            self.update("")
            return
        self.update(render(histogram, width, height, accent=accent, muted=muted, ascii=ascii))


def render(histogram: Histogram, width: int, height: int, *, accent: str, muted: str, ascii: bool) -> Text:
    """The bars in `height` - 1 lines, then the axis."""
    bars, cells = len(histogram.counts), max(1, width // len(histogram.counts))
    top = max(1, *histogram.counts)
    blocks = ASCII if ascii else EIGHTHS
    # a bar that is not empty is seen
    levels = [0 if count <= 0 else max(1, round(count / top * 8 * (height - 1))) for count in histogram.counts]
    text = Text(end="", no_wrap=True)
    for line in range(height - 2, -1, -1):
        drawn = "".join(blocks[min(8, max(0, level - 8 * line))] * cells for level in levels)
        text.append(drawn.rstrip() + "\n", rich_style(accent))
    text.append(_axis(histogram, bars * cells), rich_style(muted))
    return text


def _axis(histogram: Histogram, width: int) -> str:
    line = [" "] * width
    span = histogram.high - histogram.low
    for where, label in histogram.ticks:
        at = min(width - len(label), max(0, round((where - histogram.low) / span * (width - 1)) - len(label) // 2)) if span else 0
        if at >= 0 and all(cell == " " for cell in line[max(0, at - 1) : at + len(label) + 1]):
            line[at : at + len(label)] = label
    return "".join(line).rstrip()
