"""What headlines of all kinds are made of: numbers with their uncertainty, shares, words. Headless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from interp_tui_engine import uncertainty

from ..text.numbers import number
from ..text.sanitise import clean

if TYPE_CHECKING:
    from interp_tui_engine.payload import Headline, Payload

Values = Mapping[str, Any]
GAP = "  "
SHORT_NOTE = 24
"""Characters that a line has room for to say why there is no error bar."""


P = TypeVar("P", bound="Payload")


def read(cls: type[P], values: Values) -> P:
    """`payload.read`, imported where there is a run to speak of: it brings pydantic, and with it a fifth of the time to the first paint."""
    from interp_tui_engine import payload

    return payload.read(cls, values)


def sure(headline: Headline, name: str, value: float | None) -> str:
    """A number with the uncertainty that the headline states under its name, where it states one; a line has room for few words."""
    bar = headline.uncertainty.get(name)
    if bar is None or value is None:
        return number(value, 3)
    bare = not bar.has_bar and len(bar.note) > SHORT_NOTE  # then the result says it
    text = number(value, 3) if bare else uncertainty.describe(value, replace(bar, clear=None))
    if bar.clear is False:
        text += " (like its control)" if bar.control is None else f" (like control {number(bar.control, 3)})"
    return clean(text, limit=80)


def percent(share: float) -> str:
    """A share: `64.0 %`, and `100 %` for all."""
    return f"{100 * share:.1f} %" if share < 1 else f"{100 * share:.0f} %"


def word(text: str) -> str:
    """A name from a run, short and safe to draw."""
    return clean(text, limit=60)
