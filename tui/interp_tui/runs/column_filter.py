"""Filters over a table held by column: `auroc > .8 & layer = 2`, `label ~ city | !clear`. Headless.

Words without a sign are looked for in the text columns. `&` binds tighter than `|`; `!` turns one term round. A missing value meets no
comparison.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .filters import TERM

Columns = Mapping[str, Sequence[Any]]
Chosen = set[int]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}
SIGNS = "=<>~"


def matching(text: str, columns: Columns, aliases: Mapping[str, str]) -> list[int]:
    """The rows that meet the filter, in their order; all for an empty one.

    Raises ValueError with a sentence saying what is wrong: no such column (with the nearest), no number, no term.
    """
    count = len(next(iter(columns.values()), ()))
    choices = [choice for choice in text.split("|") if choice.strip()]
    if not choices:
        return list(range(count))
    chosen: Chosen = set()
    for choice in choices:
        met: Chosen | None = None
        for term in choice.split("&"):
            if term.strip():
                here = _term(term.strip(), columns, aliases, count)
                met = here if met is None else met & here
        chosen |= met if met is not None else set()
    return sorted(chosen)


def _term(text: str, columns: Columns, aliases: Mapping[str, str], count: int) -> Chosen:
    if text.startswith("!") and not text.startswith("!="):
        return set(range(count)) - _term(text[1:].strip(), columns, aliases, count)
    match = TERM.fullmatch(text)
    if match is None:
        if any(sign in text for sign in SIGNS):
            raise ValueError(f"{text!r} is no term: column = value, with one of = != ~ > < >= <=")
        return _word(text, columns, aliases)
    name, sign, value = _name(match["field"], columns, aliases), match["op"], match["value"].strip("\"'")
    column = columns[name]
    if sign == "~":
        wanted = value.lower()
        return {i for i, cell in enumerate(column) if cell is not None and wanted in str(cell).lower()}
    compare = COMPARE[sign]
    if any(isinstance(cell, str) for cell in column[:50]) and sign in ("=", "!="):
        return {i for i, cell in enumerate(column) if compare(str(cell).lower(), value.lower())}
    limit = _number(value)
    return {i for i, cell in enumerate(column) if isinstance(cell, (int, float)) and compare(cell, limit)}


def _word(text: str, columns: Columns, aliases: Mapping[str, str]) -> Chosen:
    """A truth column by its name, else rows that hold the word in any text."""
    name = aliases.get(text.lower(), text.lower())
    if name in columns and any(isinstance(cell, bool) for cell in columns[name][:50]):
        return {i for i, cell in enumerate(columns[name]) if cell is True}
    word = text.lower()
    texts = [column for column in columns.values() if any(isinstance(cell, str) for cell in column[:50])]
    return {i for column in texts for i, cell in enumerate(column) if isinstance(cell, str) and word in cell.lower()}


def _name(given: str, columns: Columns, aliases: Mapping[str, str]) -> str:
    name = aliases.get(given.lower(), given.lower())
    if name not in columns:
        close = difflib.get_close_matches(given.lower(), [*columns, *aliases], 1, 0.5)
        raise ValueError(f"no column {given!r}" + (f": did you mean {close[0]}?" if close else f"; columns: {', '.join(columns)}"))
    return name


def _number(text: str) -> float:
    if text.lower() in ("yes", "true"):
        return 1.0
    if text.lower() in ("no", "false"):
        return 0.0
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
