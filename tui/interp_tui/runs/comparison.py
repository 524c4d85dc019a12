"""Runs side by side: what was asked, what came out, and with what they were made. Headless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from interp_tui_engine.runfolder import RunFolder

from ..text.numbers import number
from . import session
from .certainty import difference, flat_numbers, worded

Part = Literal["result", "manifest", "provenance"]
MISSING = object()
RECORDED = frozenset({"provenance", "result"})
NAMES = frozenset({"kind", "name", "schema_version"})


@dataclass(frozen=True)
class ComparedKey:
    """One key with each run's value, already as text; `change`, of two runs, is what the right adds to the left where both are numbers."""

    part: Part
    key: str
    values: tuple[str, ...]
    differs: bool
    change: str = ""

    @property
    def left(self) -> str:
        return self.values[0]

    @property
    def right(self) -> str:
        return self.values[-1]


def compare(*folders: RunFolder) -> list[ComparedKey]:
    """Every key of any of the runs: results first, then the manifest, then provenance. Raises UserError if a manifest cannot be read."""
    tables = [session.tables(folder) for folder in folders]
    results = [{k: v for k, v in (folder.result() or {}).items() if k not in NAMES} for folder in folders]
    requests = [{k: v for k, v in table.items() if k not in RECORDED} for table in tables]
    made = [table.get("provenance", {}) for table in tables]
    lines = [_with_errors(line, results) for line in _lines("result", [flat_numbers(result) for result in results])]
    return [*lines, *_lines("manifest", requests), *_lines("provenance", made)]


def _with_errors(line: ComparedKey, results: Sequence[Mapping[str, Any]]) -> ComparedKey:
    """The line with its numbers as they state their uncertainty, and that of their difference."""
    stated = [worded(result, over=False).get(line.key) for result in results]
    change = difference(results[0], results[1], line.key) if line.differs and len(results) == 2 else ""
    values = tuple(wording or value for wording, value in zip(stated, line.values, strict=True))
    return replace(line, values=values, change=change or line.change)


def _lines(part: Part, tables: Sequence[Any]) -> list[ComparedKey]:
    flat = [session.flat(table) if isinstance(table, dict) else {} for table in tables]
    keys = dict.fromkeys(key for table in flat for key in table)
    return [_line(part, key, [table.get(key, MISSING) for table in flat]) for key in keys]


def _line(part: Part, key: str, values: Sequence[Any]) -> ComparedKey:
    differs = any(value != values[0] for value in values[1:])
    # settings to the last digit; results to five, unless only more digits tell them apart
    exact = part != "result" or (differs and len({_said(value) for value in values}) == 1)
    change = _change(values[0], values[1]) if len(values) == 2 and differs else ""
    wordings = tuple("—" if value is MISSING and part != "manifest" else _said(value, exact) for value in values)
    return ComparedKey(part, key, wordings, differs, change)


def _change(left: Any, right: Any) -> str:
    if not isinstance(left, (int, float)) or not isinstance(right, (int, float)) or isinstance(left, bool):
        return ""
    difference = right - left
    percent = f" ({100 * difference / abs(left):+.1f} %)" if left else ""
    return f"{'+' if difference > 0 else ''}{number(float(difference), 3)}{percent}"


def _said(value: Any, exact: bool = False) -> str:
    if value is MISSING:
        return "not set"
    if exact and isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(number(item) for item in value[:8]) + (", …]" if len(value) > 8 else "]")
    return number(value, 5)
