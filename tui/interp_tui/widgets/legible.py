"""Whether text stands out from what is behind it."""

from __future__ import annotations

from rich.style import Style
from textual.color import Color

LEAST = 2.5
"""Contrast below which a cell's own colour gives way to black or white."""


def legible(colour: Color, style: Style) -> Color:
    """The colour, or, where it would not stand out from the style's background, the one of black and white that does."""
    if style.bgcolor is None or style.bgcolor.triplet is None or colour.ansi is not None:
        return colour  # the terminal's own colours are not known here
    behind = Color.from_rich_color(style.bgcolor)
    return colour if contrast(colour, behind) >= LEAST else behind.get_contrast_text(1.0)


def contrast(first: Color, second: Color) -> float:
    """The ratio of two colours' luminances, from 1 to 21, as the Web Content Accessibility Guidelines (2.2, 1.4.3) define it."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Color) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
