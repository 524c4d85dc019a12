"""Named values as horizontal bars on one axis, as self-contained SVG, for reports. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .heat import NEGATIVE, POSITIVE

WIDTH, ROW, TOP, BOTTOM, LETTER, NUMBER = 720, 18, 44, 34, 7, 64


class Bar(NamedTuple):
    """One value and, where there is one, what had been estimated for it: a ring on the same axis."""

    name: str
    value: float
    estimate: float | None = None


def bars_svg(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """An SVG document of the bars, in the order given, from zero to the left where they are negative. Values must be finite."""
    left = 16 + LETTER * max((len(bar.name) for bar in bars), default=0)
    numbers = [number for bar in bars for number in (bar.value, bar.estimate) if number is not None]
    assert all(map(math.isfinite, numbers))
    low, high = min([0.0, *numbers]), max([0.0, *numbers])
    span = (high - low) or 1.0
    height = TOP + ROW * len(bars) + BOTTOM

    def place(value: float) -> float:
        return left + (value - low) / span * (WIDTH - left - NUMBER)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for index, bar in enumerate(bars):
        y = TOP + ROW * index
        start, end = sorted((place(0.0), place(bar.value)))
        colour = "#%02x%02x%02x" % (NEGATIVE if bar.value < 0 else POSITIVE)
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>')
        parts.append(f'<rect x="{start:.1f}" y="{y + 3}" width="{end - start:.1f}" height="{ROW - 7}" fill="{colour}"/>')
        if bar.estimate is not None:
            parts.append(f'<circle cx="{place(bar.estimate):.1f}" cy="{y + 8.5}" r="4" fill="none" stroke="#222"/>')
        parts.append(f'<text x="{WIDTH - 8}" y="{y + 12}" text-anchor="end">{bar.value:+z.3g}</text>')
    rings = "; rings: estimates" if any(bar.estimate is not None for bar in bars) else ""
    parts.append(f'<path d="M{place(0.0):.1f} {TOP - 4}V{height - BOTTOM}" stroke="#888"/>')
    parts.append(f'<text x="{left}" y="{height - 12}" fill="#555">{escape(unit)}{rings}</text>')
    return "\n".join([*parts, "</svg>", ""])
