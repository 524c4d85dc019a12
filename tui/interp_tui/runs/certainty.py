"""How sure a result's numbers are, as every part of the app and of the command line words it. Headless."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from interp_tui_engine import resource_use
from interp_tui_engine.numbers import short
from interp_tui_engine.uncertainty import Uncertainty, describe, plus_minus, read, value_at

from ..text.ascii_words import spelled
from ..text.sanitise import clean
from ..widgets.facts import Fact, column, rich_style
from .session import flat

TABLE = "uncertainty"
MOST = 12
"""Numbers that the Result tab lists."""


def flat_numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as one table with dotted keys, without what it says of its own uncertainty and of what the run took."""
    return flat({key: value for key, value in result.items() if key not in (TABLE, resource_use.TABLE)})


def worded(result: Mapping[str, Any], *, over: bool = True) -> dict[str, str]:
    """The numbers that state their uncertainty, with it and, if asked, what it is over: `38.2 ± 0.9 over 4 chains`."""
    stated = [(name, value_at(result, name), bar) for name, bar in read(result).items()]
    return {name: _with_over(value, bar) if over else describe(value, bar) for name, value, bar in stated if value is not None}


def difference(left: Mapping[str, Any], right: Mapping[str, Any], name: str) -> str:
    """What the right adds to the left where both state a standard error: `+3.2 ± 1.1`, `(within error)` below two of them; else nothing."""
    a, b = value_at(left, name), value_at(right, name)
    errors = [bars[name].std_error if name in (bars := read(result)) else None for result in (left, right)]
    if a is None or b is None or errors[0] is None or errors[1] is None:
        return ""
    error = math.hypot(errors[0], errors[1])
    text = plus_minus(b - a, error)
    return ("" if text.startswith(("-", "(-")) else "+") + text + (" (within error)" if abs(b - a) < 2 * error else "")


def _with_over(value: float, bar: Uncertainty) -> str:
    text = describe(value, bar) + (f" over {bar.over}" if bar.over and bar.has_bar else "")
    return clean(text, limit=120)


def section(result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The Result tab's part "how sure": what is not clear of its control is dimmed, and so is the number without an error bar."""
    facts = [
        Fact(clean(name, limit=40), _line(value, bar, ascii), "muted" if bar.clear is False or not bar.has_bar else "")
        for name, bar in read(result).items()
        if (value := value_at(result, name)) is not None
    ]
    if not facts:
        return Text(end="")
    rest = [Fact("", f"and {len(facts) - MOST} more in result.json", "muted")] if len(facts) > MOST else []
    text = Text("\n\nhow sure\n", rich_style(colours.get("muted", "")), end="")
    text.append_text(column([*facts[:MOST], *rest], colours))
    return text


def _line(value: float, bar: Uncertainty, ascii: bool) -> str:
    control = f"; control {short(bar.control)}" if bar.control is not None and bar.clear is not False else ""
    text = _with_over(value, bar) + control
    return spelled(text, ascii=ascii)
