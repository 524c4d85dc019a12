"""The section "How sure is it?" that ends every report of a run whose numbers state their uncertainty. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .markdown import code, words
from .numbers import short
from .uncertainty import Uncertainty, describe, value_at

_MOST = 20


def section(values: Mapping[str, Any], bars: Mapping[str, Uncertainty]) -> str:
    """A table of the numbers that have an uncertainty, as Markdown; empty where none has."""
    rows = [_row(name, value, bar) for name, bar in bars.items() if (value := value_at(values, name)) is not None]
    if not rows:
        return ""
    shown = "\n".join(rows[:_MOST])
    rest = f"\n{len(rows) - _MOST:,} more are in result.json under `uncertainty`.\n" if len(rows) > _MOST else ""
    return f"""
## How sure is it?

± is one standard error, [low, high] an interval at the level stated (95 % where none is). A number that is not clear of its control may be
nothing.

| number | value | over | control | clear of it |
|---|---:|---|---:|---|
{shown}
{rest}"""


def _row(name: str, value: float, bar: Uncertainty) -> str:
    level = "" if bar.std_error is not None or not bar.has_bar or bar.level == 0.95 else f" ({bar.level:.0%})"
    text = describe(value, replace(bar, clear=None, note=words(bar.note))) + level
    clear = "" if bar.clear is None else "yes" if bar.clear else "no"
    control = "" if bar.control is None else short(bar.control)
    over = "; ".join(filter(None, (bar.over, bar.note))) if bar.has_bar else bar.over or bar.note
    return f"| `{code(name)}` | {text} | {words(over)} | {control} | {clear} |"
