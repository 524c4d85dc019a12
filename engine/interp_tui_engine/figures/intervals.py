"""Means with their intervals as self-contained SVG, for reports. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT = 720, 30, 190, 40


def intervals_svg(title: str, bars: Sequence[tuple[str, float, float, float]]) -> str:
    """Means with their intervals on one axis with 0 on it, as SVG."""
    low, high = min(0.0, *(bar[2] for bar in bars)), max(0.0, *(bar[3] for bar in bars))
    span = (high - low) or 1.0
    height = 44 + ROW * len(bars) + 30

    def x(value: float) -> float:
        return LEFT + (value - low) / span * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="22" font-size="14">{escape(title)}</text>',
        f'<path d="M{x(0):.1f} 36V{height - 26}" stroke="#999" stroke-dasharray="3 3"/>',
        f'<text x="{x(0):.1f}" y="{height - 10}" text-anchor="middle">0</text>',
    ]
    for index, (name, mean, left, right) in enumerate(bars):
        y, colour = 52 + ROW * index, "#0072b2" if index == 0 else "#888"
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<path d="M{x(left):.1f} {y}H{x(right):.1f}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(mean):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x(mean):.1f}" y="{y - 8}" text-anchor="middle" font-size="11">{mean:.2f}</text>')
    return "\n".join([*parts, "</svg>", ""])
