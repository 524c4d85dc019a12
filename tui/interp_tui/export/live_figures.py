"""Figures of a page that can be read out: a run's curves as SVG, its result's grids as tables in colour. Both can be read without a script.

Every label is escaped text, every number is written by this module: nothing of a model's or of data becomes markup. `SCRIPT` is the page's
only code, allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from interp_tui_engine.figures.heat import NEGATIVE, POSITIVE, ZERO
from interp_tui_engine.runfolder import RunFolder

from ..runs import curves, grids
from ..runs.curves import Point, RunCurve
from ..runs.grids import LabelledGrid
from ..text.numbers import number
from ..text.sanitise import clean

SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
COLUMNS = 300
"""Points of a curve."""
MOST_CELLS = 4000
MOST_FIGURES = 12
WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 720, 220, 70, 10, 10, 30
"""Of a chart, in units of its view box: its size, and its margins."""


def figures(folder: RunFolder) -> str:
    """The run's curves and grids as HTML; empty where it has none. Reads its log and its result."""
    drawn = [curve_figure(name, curve) for name, curve in curves.read(folder, COLUMNS).items()]
    found = grids.read(folder.result() or {})
    drawn += [grid_figure(name, grid) for name, grid in found.items() if len(grid.rows) * len(grid.columns) <= MOST_CELLS]
    if not drawn:
        return ""
    more = f"<p>and {len(drawn) - MOST_FIGURES} more in result.json</p>" if len(drawn) > MOST_FIGURES else ""
    return f'<section class="figures">{"".join(drawn[:MOST_FIGURES])}{more}</section>'


def grid_figure(name: str, grid: LabelledGrid) -> str:
    """A table of the grid's numbers, each on its colour."""
    reach = max((abs(value) for row in grid.values for value in row if value is not None), default=0.0) or 1.0
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in grid.columns)
    rows = []
    for label, values in zip(grid.rows, grid.values, strict=True):
        cells = "".join(_cell(value, reach) for value in values)
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    caption = f"<figcaption>{escape(clean(name, limit=80))} <output></output></figcaption>"
    table = f'<table class="cells" tabindex="0"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<figure class="heat">{caption}{table}</figure>'


def _cell(value: float | None, reach: float) -> str:
    if value is None:
        return '<td class="none"></td>'
    share = min(1.0, abs(value) / reach)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(ZERO, NEGATIVE if value < 0 else POSITIVE, strict=True))
    ink = "#fff" if share > 0.6 else "#222"
    return f'<td data-v="{number(value, 6)}" style="background:#{red:02x}{green:02x}{blue:02x};color:{ink}">{number(value, 2)}</td>'


def curve_figure(name: str, curve: RunCurve) -> str:
    """A line in its band, with its axes' ends, and what is read out under the pointer."""
    xs = [x for x, _ in curve.points]
    ys = [y for side in (curve.points, curve.low, curve.high) for _, y in side]
    across, up = _scale(min(xs), max(xs), LEFT, WIDE - RIGHT), _scale(min(ys), max(ys), HIGH - BOTTOM, TOP)

    def path(points: Sequence[Point]) -> str:
        return " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)

    half = {x: (high - low) / 2 for (x, low), (_, high) in zip(curve.low, curve.high, strict=False)}
    told = [[number(x, 6), number(y, 5), number(half[x], 2) if x in half else None, round(across(x), 1)] for x, y in curve.points]
    band = f'<polygon class="band" points="{path(curve.low)} {path(curve.high[::-1])}"/>' if curve.low else ""
    ends = [(LEFT - 6, HIGH - BOTTOM, "end", min(ys)), (LEFT - 6, TOP + 10, "end", max(ys))]
    ends += [(LEFT, HIGH - 8, "start", min(xs)), (WIDE - RIGHT, HIGH - 8, "end", max(xs))]
    labels = "".join(f'<text x="{x}" y="{y}" text-anchor="{side}">{number(value, 4)}</text>' for x, y, side, value in ends)
    axis = f'<text x="{(LEFT + WIDE) // 2}" y="{HIGH - 8}" text-anchor="middle">{escape(curve.axis)}</text>'
    frame = f'<path class="axes" d="M{LEFT} {TOP}V{HIGH - BOTTOM}H{WIDE - RIGHT}"/>'
    cursor = f'<line class="cursor" y1="{TOP}" y2="{HIGH - BOTTOM}" x1="0" x2="0"/>'
    title = clean(name, limit=80)
    about = f' data-points="{escape(json.dumps(told))}" data-axis="{escape(curve.axis)}"'
    picture = f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(title)}" tabindex="0"{about}>'
    line = f'<polyline class="mean" points="{path(curve.points)}"/>'
    said = f" <small>{escape(curve.band)}</small>" if curve.band else ""
    caption = f"<figcaption>{escape(title)}{said} <output></output></figcaption>"
    return f'<figure class="chart">{caption}{picture}{frame}{band}{line}{labels}{axis}{cursor}</svg></figure>'


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A value's place between two ends of the view box."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)
