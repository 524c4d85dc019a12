"""Heatmaps as self-contained SVG, for reports. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

NEGATIVE, ZERO, POSITIVE = (196, 85, 26), (247, 247, 244), (27, 111, 194)
"""Vermilion to blue over near-white: told apart by colour-blind readers."""
CELL_HEIGHT, TOP, LEAST_CELL, MOST_CELL = 18, 60, 14, 92
NUMBERS_FROM = 48
"""Width of a cell from which its number is written into it."""


def heatmap_svg(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], unit: str, width: int = 720
) -> str:
    """An SVG document of values by row and column, zero in the middle of the scale; grey where there is none."""
    left = 12 + 7 * max((len(row) for row in rows), default=0)
    cell = max(LEAST_CELL, min(MOST_CELL, (width - left) // max(1, len(columns))))
    sizes = [abs(v) for row in values for v in row if v is not None and math.isfinite(v)]
    reach = max(sizes, default=0.0) or 1.0
    wide, high = max(left + cell * len(columns) + 12, 340), TOP + CELL_HEIGHT * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{wide}" height="{high}" fill="#fff"/>',
        f'<text x="{left}" y="20" font-size="14">{escape(title)}</text>',
    ]
    every = max(1, math.ceil(26 / cell)) if max((len(c) for c in columns), default=0) * 7 > cell else 1
    for index, column in enumerate(columns):
        if index % every == 0:
            x = left + cell * index + cell / 2
            parts.append(f'<text x="{x:.1f}" y="{TOP - 8}" text-anchor="middle">{escape(column)}</text>')
    for y, (name, row) in enumerate(zip(rows, values, strict=True)):
        top = TOP + CELL_HEIGHT * y
        parts.append(f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>')
        for x, value in enumerate(row):
            parts += _cell(left + cell * x, top, cell, value, reach)
    least = -reach if any(v is not None and v < 0 for row in values for v in row) else 0
    parts.append(f'<text x="{left}" y="{high - 10}" fill="#555">{escape(unit)}, from {least:.3g} to {reach:.3g}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _cell(x: int, y: int, width: int, value: float | None, reach: float) -> list[str]:
    box = f'<rect x="{x}" y="{y}" width="{width}" height="{CELL_HEIGHT}"'
    if value is None or not math.isfinite(value):
        return [f'{box} fill="#d8d8d8"/>']
    share = min(1.0, abs(value) / reach)
    end = NEGATIVE if value < 0 else POSITIVE
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(ZERO, end, strict=True))
    drawn = [f'{box} fill="#{red:02x}{green:02x}{blue:02x}"/>']
    if width >= NUMBERS_FROM:
        ink = "#fff" if share > 0.6 else "#222"
        drawn.append(f'<text x="{x + width - 6}" y="{y + 13}" text-anchor="end" font-size="11" fill="{ink}">{_short(value, reach)}</text>')
    return drawn


def _short(value: float, reach: float) -> str:
    """A number that fits into a cell: beside numbers of order one, what is far smaller is told by hundredths."""
    return f"{value:z.2f}" if 0.1 < reach < 10 else f"{value:.3g}"
