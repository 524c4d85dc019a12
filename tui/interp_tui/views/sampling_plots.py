"""The two pictures of a sampling run: the loss of each chain, and the running λ̂ in its error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interp_tui.runs.curves import RunCurve
from interp_tui.widgets.chains import ChainLine
from interp_tui.widgets.facts import Fact
from interp_tui.widgets.trace import Plot, PlotLine, Point
from interp_tui_engine.results.sampling import StepParts


@dataclass(frozen=True)
class SamplingFrame:
    """A copy of what the view shows."""

    waiting: str = ""
    extremes: Mapping[int, list[Point]] = field(default_factory=dict)
    means: Mapping[int, list[Point]] = field(default_factory=dict)
    chains: tuple[ChainLine, ...] = ()
    facts: tuple[Fact, ...] = ()
    history: tuple[float, ...] = ()
    """The running estimate, oldest first."""
    init_loss: float | None = None
    burnin: int = 0
    last: int = 0
    start: int = 0
    stop: int = 1
    running: RunCurve | None = None
    """The estimate over steps in its standard error."""
    parts: Mapping[int, StepParts] = field(default_factory=dict)
    """What moved each chain at its newest step."""


def losses(
    frame: SamplingFrame,
    colours: Mapping[str, str],
    highlight: int | None,
    overlay: tuple[str, list[Point]] | None,
    *,
    log: bool,
    ascii: bool,
) -> Plot:
    """A line a chain, the highlighted one last and in its colour; under them another run's mean."""
    muted = colours.get("muted", "")
    lines = [
        PlotLine(f"chain {chain}", points, colours.get(f"chain-{chain % 8}", "") if highlight in (None, chain) else muted)
        for chain, points in sorted(frame.extremes.items(), key=lambda item: item[0] == highlight)
    ]
    if overlay is not None:
        lines.insert(0, PlotLine(overlay[0], overlay[1], colours.get("foreground", ""), marker="+" if ascii else "•"))
    references = {"init": frame.init_loss} if frame.init_loss is not None else {}
    return Plot(lines=lines, start=frame.start, stop=frame.stop, x_label="draws", log=log, references=references)


def estimate(curve: RunCurve, colours: Mapping[str, str], *, ascii: bool) -> Plot:
    """The estimate as it was at each step, between dots one standard error away; 0 where it comes near."""
    dot = "." if ascii else "·"
    muted = colours.get("muted", "")
    sides = [PlotLine("error", side, muted, marker=dot) for side in (curve.low, curve.high) if side]
    low, high = min(y for _, y in curve.points), max(y for _, y in curve.points)
    near_zero = low <= 0.0 <= high or min(abs(low), abs(high)) < high - low
    return Plot(
        lines=[*sides, PlotLine("estimate *", curve.points, colours.get("accent", ""))],
        start=curve.points[0][0],
        stop=curve.points[-1][0],
        x_label=curve.axis,
        references={"0": 0.0} if near_zero else {},
    )
