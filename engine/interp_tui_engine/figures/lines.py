"""Line figures as self-contained SVG, for reports. Torch-free.

Small on purpose: a report needs curves that open anywhere, and no plotting library is among the core dependencies but the terminal's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 72, 130, 34, 46
# Okabe and Ito's palette: told apart by colour-blind readers
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


@dataclass(frozen=True)
class Curve:
    """One line: its name and its points, None where there is no value; `low` and `high` are the ends of an interval shaded around it."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal reference line."""

    name: str
    y: float


def lines_svg(title: str, x_label: str, y_label: str, curves: Sequence[Curve], levels: Sequence[Level] = ()) -> str:
    """An SVG document of the curves over shared axes, with a legend. Points that are not finite interrupt their curve."""
    xs = [x for curve in curves for x in curve.x]
    ys = [y for curve in curves for y in (*curve.y, *curve.low, *curve.high) if y is not None and math.isfinite(y)]
    ys += [level.y for level in levels]
    x_low, x_high = _range(xs)
    y_low, y_high = _range(ys, margin=0.05)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return LEFT + across, HEIGHT - BOTTOM - up

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for tick in ticks(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    for tick in ticks(x_low, x_high):
        x, _ = place(tick, y_low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#888" fill="none"/>')
    legend = TOP + 8
    for index, curve in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        if curve.low:
            around = Curve("", [*curve.x, *reversed(curve.x)], [*curve.low, *reversed(curve.high)])
            parts.append(f'<path d="{_path(around, place)}Z" fill="{colour}" fill-opacity="0.15"/>')
        parts.append(f'<path d="{_path(curve, place)}" stroke="{colour}" stroke-width="1.4" fill="none"/>')
        parts += _legend(curve.name, legend, colour, "")
        legend += 18
    for level in levels:
        _, y = place(x_low, level.y)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#555" stroke-dasharray="5 4"/>')
        parts += _legend(level.name, legend, "#555", ' stroke-dasharray="5 4"')
        legend += 18
    return "\n".join([*parts, "</svg>", ""])


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) within [low, high]."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _legend(name: str, y: float, colour: str, dash: str) -> list[str]:
    x = WIDTH - RIGHT + 12
    return [f'<path d="M{x} {y}h16" stroke="{colour}" stroke-width="2"{dash}/>', f'<text x="{x + 22}" y="{y + 4}">{escape(name)}</text>']


def _path(curve: Curve, place: object) -> str:
    assert callable(place)
    drawn, pen_down = [], False
    for x, y in zip(curve.x, curve.y, strict=True):
        if y is None or not math.isfinite(y):
            pen_down = False
            continue
        px, py = place(x, y)
        drawn.append(f"{'L' if pen_down else 'M'}{px:.1f} {py:.1f}")
        pen_down = True
    return "".join(drawn)


def _range(values: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) * 0.01 or 0.5), high + (abs(high) * 0.01 or 0.5)
    return low - margin * (high - low), high + margin * (high - low)
