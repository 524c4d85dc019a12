"""What a run says along an axis, as curves that can be laid over another run's: its mean, and a band around it. Headless.

A sampling run has its loss over draws (the band is one standard deviation over chains) and its running λ̂ (one standard error, as the run
stated it then). Other kinds have what their events tell by step, and what their results hold by layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interp_tui_engine import uncertainty
from interp_tui_engine.numbers import as_finite as finite
from interp_tui_engine.runfolder import RunFolder

from .follow import Follower
from .runstate import RunState
from .traces import DrawSeries

Point = tuple[float, float]
SECONDS = 3.0
"""After which a long log is taken as far as it was read."""
LOSS, RUNNING = "loss", "running λ̂"
NO_CURVES = frozenset({"headline"})
LEAST = 3
"""Points that a curve has at least."""


@dataclass(frozen=True)
class RunCurve:
    """A line, and a band around it where there is one; `band` says what the band is, `axis` what x counts."""

    points: tuple[Point, ...]
    axis: str
    low: tuple[Point, ...] = ()
    high: tuple[Point, ...] = ()
    band: str = ""

    def at(self, x: float) -> tuple[float, float | None] | None:
        """The mean, and half the band's width, at the point nearest to `x`; None beyond the ends."""
        if not self.points:
            return None
        place = min(range(len(self.points)), key=lambda index: abs(self.points[index][0] - x))
        spacing = (self.points[-1][0] - self.points[0][0]) / max(1, len(self.points) - 1)
        here, value = self.points[place]
        if abs(here - x) > max(spacing, 1e-9):
            return None
        ends = [dict(side).get(here) for side in (self.low, self.high)]
        return value, (ends[1] - ends[0]) / 2 if ends[0] is not None and ends[1] is not None else None


def read(folder: RunFolder, columns: int) -> dict[str, RunCurve]:
    """The curves of a run by name, each of at most `columns` points. Reads its log and its result: call it from a thread."""
    follower = Follower(folder)
    deadline = time.monotonic() + SECONDS
    while follower.read().more and time.monotonic() < deadline:
        pass
    return of_state(follower.state, columns) | of_result(folder.result() or {})


def of_state(state: RunState, columns: int) -> dict[str, RunCurve]:
    """What the run's events tell along their steps."""
    by_name: dict[str, RunCurve] = {}
    running = state.series.get(("estimate", "llc_mean"))
    if running is not None:
        by_name[RUNNING] = with_error(running, state.series.get(("estimate", "llc_std_error")), columns)
    healthy = [trace for chain, trace in state.traces.items() if chain not in state.failures]
    if healthy:
        by_name[LOSS] = over_chains(healthy, columns)
    for (series, name), trace in state.series.items():
        if series not in NO_CURVES | {"estimate"}:
            by_name.setdefault(name, RunCurve(tuple(trace.means(0, trace.last + 1, columns)), "steps"))
    return {name: curve for name, curve in by_name.items() if len(curve.points) >= LEAST}


def over_chains(traces: Sequence[DrawSeries], columns: int) -> RunCurve:
    """The mean over chains by draw, in a band of one standard deviation of them."""
    by_draw: dict[float, list[float]] = {}
    stop = max(trace.last for trace in traces) + 1
    for trace in traces:
        for draw, value in trace.means(0, stop, columns):
            by_draw.setdefault(draw, []).append(value)
    points, low, high = [], [], []
    for place, values in sorted(by_draw.items()):
        mean = math.fsum(values) / len(values)
        points.append((place, mean))
        if len(values) > 1:
            spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
            low.append((place, mean - spread))
            high.append((place, mean + spread))
    return RunCurve(tuple(points), "draws", tuple(low), tuple(high), "± 1 sd over chains" if low else "")


def with_error(mean: DrawSeries, error: DrawSeries | None, columns: int) -> RunCurve:
    """A running estimate in a band of its standard error."""
    points = mean.means(0, mean.last + 1, columns)
    errors = [error.at(int(x)) if error is not None else None for x, _ in points]
    sure = [(x, y, bar) for (x, y), bar in zip(points, errors, strict=True) if bar is not None]
    low, high = (tuple((x, y + sign * bar) for x, y, bar in sure) for sign in (-1, 1))
    return RunCurve(tuple(points), "steps", low, high, "± 1 standard error" if sure else "")


def of_result(result: Mapping[str, Any]) -> dict[str, RunCurve]:
    """What a result holds by layer: every list with a number for each of its layers, with the interval that it states."""
    layers = result.get("layers")
    if not isinstance(layers, list) or not all(type(layer) is int for layer in layers) or len(layers) < LEAST:
        return {}
    by_name = {}
    for name, values in result.items():
        if name == "layers" or not isinstance(values, list) or len(values) != len(layers):
            continue
        points = [(float(x), y) for x, value in zip(layers, values, strict=True) if (y := finite(value)) is not None]
        if len(points) >= LEAST:
            low, high = _interval(result, name, layers)
            by_name[f"{name} by layer"] = RunCurve(tuple(points), "layer", low, high, "95 % interval" if low else "")
    return by_name


def _interval(result: Mapping[str, Any], name: str, layers: Sequence[int]) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    bars = uncertainty.read(result)
    sides: tuple[list[Point], list[Point]] = ([], [])
    for place, layer in enumerate(layers):
        bar = bars.get(f"{name}.{place}")
        if bar is not None and bar.low is not None and bar.high is not None:
            sides[0].append((float(layer), bar.low))
            sides[1].append((float(layer), bar.high))
    return tuple(sides[0]), tuple(sides[1])
