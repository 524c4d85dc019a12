"""Numbers as colours, glyphs or digits on one scale: what heatmaps and token strips share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rich.style import Style
from textual.color import Color, ColorParseError

Look = Literal["colour", "glyph", "digit"]
LOOKS: tuple[Look, ...] = ("colour", "glyph", "digit")
STEPS = 48
"""Shades on either side of zero: more than an eye tells apart, few enough to keep their styles."""
GLYPHS = " ░▒▓█"
ASCII_GLYPHS = " .+*#"


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high`; zero lies between them on a scale that has two sides."""

    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float | None]) -> Scale:
        """The scale of what is there: even around zero where values fall on both sides of it, else from zero up or down."""
        known = [value for value in values if value is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
        if low < 0 < high:
            reach = max(-low, high)
            return Scale(-reach, reach)
        return Scale(min(low, 0.0), max(high, 0.0))

    def share(self, value: float) -> float:
        """Where `value` lies, from -1 (low) over 0 to 1 (high); what lies beyond is at the end."""
        reach = self.high if value >= 0 else -self.low
        return max(-1.0, min(1.0, value / reach)) if reach > 0 else 0.0


def glyph(share: float | None, *, ascii: bool) -> str:
    """A sign and a block for a share of the scale, two cells: `-▓`; a dot where there is no value."""
    if share is None:
        return " -" if ascii else " ·"
    blocks = ASCII_GLYPHS if ascii else GLYPHS
    level = min(len(blocks) - 1, round(abs(share) * (len(blocks) - 1)))
    return f"{'-' if share < 0 and level else ' '}{blocks[level]}"


def digit(share: float | None) -> str:
    """A sign and the first decimal of a share of the scale, two cells: `-7`; `X` is the end of the scale."""
    if share is None:
        return " -"
    tenths = round(abs(share) * 10)
    digit_shown = "X" if tenths >= 10 else "." if tenths == 0 else str(tenths)
    return f"{'-' if share < 0 and tenths else ' '}{digit_shown}"


class ScaleStyles:
    """Styles of a theme's scale: `heat-negative` over `heat-zero` to `heat-positive`, with text that can be read on them."""

    def __init__(self, colours: Mapping[str, str]) -> None:
        named = [_colour(colours.get(name, "")) for name in ("heat-negative", "heat-zero", "heat-positive")]
        self.coloured = None not in named
        """False where the theme leaves colours to the terminal: values are then told by glyphs or digits."""
        self._named = named

    def style(self, share: float) -> Style:
        """Background for a share of the scale, and a foreground that stands out from it."""
        low, zero, high = self._named
        if low is None or zero is None or high is None:
            return Style()
        return _shade(low if share < 0 else high, zero, round(abs(share) * STEPS))


@lru_cache(1024)
def _shade(end: Color, zero: Color, step: int) -> Style:
    background = zero.blend(end, step / STEPS)
    return Style(color=background.get_contrast_text(0.9).rich_color, bgcolor=background.rich_color)


def _colour(value: str) -> Color | None:
    try:
        colour = Color.parse(value)
    except ColorParseError:
        return None
    return None if colour.ansi is not None else colour
