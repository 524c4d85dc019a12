"""Sampling runs: loss traces, a line for each chain, the running estimate and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

from interp_tui.runs.curves import with_error
from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number, spark
from interp_tui.widgets.chains import ChainTable
from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui.widgets.trace import Point, TracePlot, columns_for

from . import sampling_facts, sampling_plots
from .base import WIDE, RunView
from .sampling_parts import parts_text
from .sampling_plots import SamplingFrame
from .sampling_result import result_text

LEAST_SHOWN = 20
"""Draws from which on the plot can be zoomed into."""


class SamplingView(RunView):
    """Loss traces over a table of chains; beside them, where there is room, the estimate."""

    KINDS: ClassVar[tuple[str, ...]] = ("sample", "llc")
    DEFAULT_CSS = """
    SamplingView #top { height: 1fr; min-height: 7; layout: vertical; }
    SamplingView #plot { height: 1fr; width: 1fr; }
    SamplingView #title { height: 1; }
    SamplingView #side { height: auto; width: 100%; }
    SamplingView #parts { height: auto; }
    SamplingView #table { height: auto; max-height: 45%; margin-top: 0; scrollbar-size-vertical: 1; }
    SamplingView.-wide #top { layout: horizontal; }
    SamplingView.-wide #side { width: 36; height: 100%; border-left: solid $rule; padding: 0 0 0 2; }
    SamplingView.-wide #table { margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "running", "The running λ̂ in its error, or the losses", show=False, id="sampling.running"),
        Binding("l", "log", "Log", id="sampling.log", tooltip="logarithmic loss axis"),
        Binding("left", "cursor(-1)", "Read", key_display="←→", id="sampling.cursor.left"),
        Binding("right", "cursor(1)", "Cursor right", show=False, id="sampling.cursor.right"),
        Binding("shift+left", "cursor(-10)", "Cursor left by ten", show=False, id="sampling.cursor.left10"),
        Binding("shift+right", "cursor(10)", "Cursor right by ten", show=False, id="sampling.cursor.right10"),
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False, id="sampling.zoom.in"),
        Binding("minus", "zoom(-1)", "Zoom out", show=False, id="sampling.zoom.out"),
        Binding("0", "chain(0)", "Chain", key_display="0-9", id="sampling.chain.0"),
        *(Binding(str(n), f"chain({n})", f"Highlight chain {n}", show=False, id=f"sampling.chain.{n}") for n in range(1, 10)),
        Binding("up,k", "next_chain(-1)", "Highlight the chain above", show=False, id="sampling.chain.up"),
        Binding("down,j", "next_chain(1)", "Highlight the chain below", show=False, id="sampling.chain.down"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.frame = SamplingFrame()
        self.log_y = False
        self.running = False
        """Whether the running estimate is shown in place of the losses."""
        self.highlight: int | None = None
        self.cursor: int | None = None
        """A draw, or None while no cursor is shown."""
        self.zoom = 0
        """How often the axis is halved, around the cursor or, without one, at the newest draws."""
        self.overlay: tuple[str, list[Point]] | None = None
        """Another run's name and mean trace."""

    def compose(self) -> ComposeResult:
        with Container(id="top"):
            with Container(id="plot"):
                yield Static(id="title")
                yield TracePlot(id="trace")
            yield Facts(id="side")
        with VerticalScroll(id="table", can_focus=False):
            yield ChainTable()
            yield Static(id="parts")

    def take(self, state: RunState, waiting: str) -> None:
        last = max((trace.last for trace in state.traces.values()), default=-1) + 1
        total = state.draws_total
        start, stop = zoomed(axis_stop(last, total), last, self.cursor, self.zoom)
        plot = self.query_one(TracePlot)
        columns = columns_for(len(state.traces), plot.columns)
        ascii = self.app.has_class("-ascii")
        history, errors = (state.series.get(("estimate", name)) for name in ("llc_mean", "llc_std_error"))
        self.frame = SamplingFrame(
            waiting=waiting if not last else "",
            extremes={chain: [*trace.extremes(start, stop, columns)] for chain, trace in state.traces.items()},
            means={chain: [*trace.means(start, stop, plot.columns)] for chain, trace in state.traces.items()},
            chains=tuple(sampling_facts.chain_lines(state, ascii=ascii)),
            facts=tuple(sampling_facts.facts(state, ascii=ascii)),
            history=tuple(value for _, value in history.means(0, history.last + 1, 60)) if history else (),
            init_loss=state.value("estimate", "init_loss"),
            burnin=state.burnin,
            last=last,
            start=start,
            stop=stop,
            running=with_error(history, errors, plot.columns) if history is not None and len(history) > 2 else None,
            parts=state.step_parts(),
        )

    async def draw_plots(self) -> None:
        frame, colours = self.frame, self.app.theme_variables
        plot = self.query_one(TracePlot)
        if not frame.extremes or not frame.last:
            self.query_one("#title", Static).update("")
            plot.update(waiting_text(frame.waiting, plot.size.height, plot.size.width, colours.get("muted", "")))
            return
        if self.running and frame.running is not None:
            spec = sampling_plots.estimate(frame.running, colours, ascii=self._ascii)
        else:
            spec = sampling_plots.losses(frame, colours, self.highlight, self.overlay, log=self.log_y, ascii=self._ascii)
            spec = replace(spec, cursor=self.cursor)
        spec = replace(spec, muted=colours.get("muted", ""), accent=colours.get("accent", ""), ascii=self._ascii)
        self.query_one("#title", Static).update(self._title())
        await plot.draw(spec)

    def draw_tables(self) -> None:
        wide = self.has_class("-wide")
        facts = list(self.frame.facts)
        if wide and len(self.frame.history) > 2:
            sign = "llc" if self._ascii else "λ̂"
            facts.append(Fact(f"running {sign}", spark(list(self.frame.history), 32, ascii=self._ascii), "accent", alone=True))
        self.query_one(Facts).show(facts, flat=not wide)
        table = self.query_one(ChainTable)
        table.display = bool(self.frame.chains)
        parts = parts_text(self.frame.parts, self.app.theme_variables, ascii=self._ascii)
        self.query_one("#parts", Static).display = bool(parts.plain)
        self.query_one("#parts", Static).update(parts)
        table.show(self.frame.chains, highlight=self.highlight, width=max(70, self.size.width - 4))

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    def _title(self) -> Text:
        """What the plot shows; while the cursor is on, what stands under it."""
        frame, colours = self.frame, self.app.theme_variables
        muted = rich_style(colours.get("muted", ""))
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        if self.running and frame.running is not None:
            band = f"   {'...' if self._ascii else '···'} {frame.running.band}" if frame.running.band else ""
            text.append(f"running λ̂, all healthy chains{band}", muted)
            return text
        if self.cursor is None:
            text.append("loss per chain, nats" + ("  log-y" if self.log_y else ""), muted)
            if self.zoom:
                text.append(f"   draws {frame.start:,}–{frame.stop:,}", muted)
            if frame.init_loss is not None:
                text.append(f"   {'...' if self._ascii else '···'} at the initial weights {number(frame.init_loss)}", muted)
            if self.overlay is not None:
                text.append(f"   {'+++' if self._ascii else '•••'} mean of {self.overlay[0]}", rich_style(colours.get("foreground", "")))
            return text
        text.append(f"draw {self.cursor:,}", rich_style(colours.get("accent", ""), bold=True))
        nearest_points = [(chain, nearest(points, self.cursor)) for chain, points in sorted(frame.means.items())]
        values = [value for _, value in nearest_points if value is not None]
        if values:
            text.append(f"   mean {number(math.fsum(values) / len(values))}")
        for chain, value in sorted(nearest_points, key=lambda item: item[0] != self.highlight):
            band = number(value).replace("—", "-" if self._ascii else "—")
            text.append(f"   {chain}: ", muted)
            text.append(band, rich_style(colours.get(f"chain-{chain % 8}", "")))
        return text

    def action_zoom(self, by: int) -> None:
        """Halve or double the stretch of draws that the plot shows; not below a few draws a column."""
        zoom = max(0, self.zoom + by)
        if by < 0 or self.frame.stop - self.frame.start > LEAST_SHOWN:
            self.zoom = zoom
            self.post_message(self.LookChanged())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A run that estimates nothing has no estimate to show."""
        return action != "running" or self.frame.running is not None

    def action_running(self) -> None:
        """Show the running estimate, or the losses again."""
        if self.frame.running is not None:
            self.running = not self.running
            self.post_message(self.LookChanged())

    def action_log(self) -> None:
        self.log_y = not self.log_y
        self.post_message(self.LookChanged())

    def action_chain(self, chain: int) -> None:
        """Highlight the chain of that number; the same again lets go of it."""
        known = {line.chain for line in self.frame.chains}
        self.highlight = chain if chain in known and chain != self.highlight else None
        self.post_message(self.LookChanged())

    def action_next_chain(self, by: int) -> None:
        known = [line.chain for line in self.frame.chains]
        if not known:
            return
        at = known.index(self.highlight) + by if self.highlight in known else (0 if by > 0 else len(known) - 1)
        self.highlight = known[at] if 0 <= at < len(known) else None
        if self.highlight is not None:
            self.query_one("#table", VerticalScroll).scroll_to(y=max(0, at - 2), animate=False)
        self.post_message(self.LookChanged())

    def action_cursor(self, by: int) -> None:
        """Move the read-out by so many columns; past the newest draw it goes away."""
        if not self.frame.last:
            return
        step = max(1, (self.frame.stop - self.frame.start) // max(1, self.query_one(TracePlot).columns))
        if self.cursor is None:
            self.cursor = self.frame.last - 1 if by < 0 else self.frame.start
        elif self.cursor + by * step >= self.frame.last:
            self.cursor = None
        else:
            self.cursor = max(0, self.cursor + by * step)
        self.post_message(self.LookChanged())

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return result_text(result, colours, ascii=ascii)


def axis_stop(last: int, total: int) -> int:
    """Where the draw axis ends: the whole run, halved as often as the draws so far leave room for, so that early draws fill the plot."""
    stop = max(total, last, 1)
    while stop > 2 * last and stop > 20:
        stop = (stop + 1) // 2
    return stop


def zoomed(stop: int, last: int, cursor: int | None, zoom: int) -> tuple[int, int]:
    """The stretch of draws to show out of 0 … `stop`: the 2^zoom-th part of it, around the cursor or ending with the last draw."""
    if not zoom:
        return 0, stop
    length = min(stop, max(LEAST_SHOWN // 2, stop >> zoom))
    begin = last - length if cursor is None else cursor - length // 2
    begin = max(0, min(begin, max(last, length) - length))
    return begin, begin + length


def nearest(points: list[Point], x: float) -> float | None:
    """The value at `x`, or at the last point before it that stands for the draws around it."""
    point_there = min(points, key=lambda point: abs(point[0] - x), default=None)
    spacing = points[1][0] - points[0][0] if len(points) > 1 else 1
    return point_there[1] if point_there is not None and abs(point_there[0] - x) <= spacing else None


def waiting_text(message: str, height: int, width: int, muted: str) -> Text:
    """A message in the middle of an empty plot."""
    return Text("\n" * max(0, height // 2 - 1) + message.center(width).rstrip(), rich_style(muted), end="")
