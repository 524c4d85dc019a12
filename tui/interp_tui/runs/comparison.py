"""Two runs side by side: what was asked, what came out, and with what they were made. Headless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from interp_tui_engine.runfolder import RunFolder

from ..text.numbers import number
from . import session
from .certainty import difference, flat_numbers, worded

Part = Literal["result", "manifest", "provenance"]
MISSING = object()


@dataclass(frozen=True)
class ComparedKey:
    """One key with its two values, already as text; `change` is what the right adds to the left, where both are numbers."""

    part: Part
    key: str
    left: str
    right: str
    differs: bool
    change: str = ""


def compare(left: RunFolder, right: RunFolder) -> list[ComparedKey]:
    """Every key of either run: results first, then the manifest, then provenance. Raises UserError if a manifest cannot be read."""
    tables = [session.tables(folder) for folder in (left, right)]
    results = [
        {k: v for k, v in (folder.result() or {}).items() if k not in {"kind", "name", "schema_version"}} for folder in (left, right)
    ]
    requests = [{k: v for k, v in table.items() if k not in {"provenance", "result"}} for table in tables]
    made = [table.get("provenance", {}) for table in tables]
    lines = [_with_errors(line, *results) for line in _lines("result", *map(flat_numbers, results))]
    return [*lines, *_lines("manifest", *requests), *_lines("provenance", *made)]


def _with_errors(line: ComparedKey, left: Mapping[str, Any], right: Mapping[str, Any]) -> ComparedKey:
    """The line with its numbers as they state their uncertainty, and that of their difference."""
    a, b = (worded(result, over=False).get(line.key) for result in (left, right))
    change = difference(left, right, line.key) if line.differs else ""
    return replace(line, left=a or line.left, right=b or line.right, change=change or line.change)


def _lines(part: Part, left: Any, right: Any) -> list[ComparedKey]:
    a, b = (session.flat(table) if isinstance(table, dict) else {} for table in (left, right))
    return [_line(part, key, a.get(key, MISSING), b.get(key, MISSING)) for key in dict.fromkeys([*a, *b])]


def _line(part: Part, key: str, left: Any, right: Any) -> ComparedKey:
    change = ""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)) and not isinstance(left, bool) and left != right:
        difference = right - left
        percent = f" ({100 * difference / abs(left):+.1f} %)" if left else ""
        change = f"{'+' if difference > 0 else ''}{number(float(difference), 3)}{percent}"
    exact = part != "result" or _said(left) == _said(right)
    return ComparedKey(part, key, _said(left, exact), _said(right, exact), left != right, change)


def _said(value: Any, exact: bool = False) -> str:
    """Settings to the last digit, results to five, unless only more digits tell them apart."""
    if value is MISSING:
        return "not set"
    if exact and isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(number(item) for item in value[:8]) + (", …]" if len(value) > 8 else "]")
    return number(value, 5)
