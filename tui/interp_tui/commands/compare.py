"""`compare`: what two runs were asked, and what came out, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .output import columns, out, out_json
from .shared import JsonOption, RunArgument, RunsOption, find

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder

NOT_COMPARED = ("provenance.started", "provenance.finished", "provenance.request_sha256")


def compare(first: RunArgument, second: RunArgument, runs: RunsOption = None, json: JsonOption = False) -> int:
    """Compare two runs: what was asked and what came out."""
    from ..runs import session
    from ..runs.certainty import flat_numbers, worded

    left, right = find(first, runs), find(second, runs)
    changed = differences(session.flat(session.tables(left)), session.flat(session.tables(right)))
    stored = left.result() or {}, right.result() or {}
    results = side_by_side(*map(session.flat, stored))
    if json:
        names = {"first": str(left.path), "second": str(right.path)}
        out_json({**names, "manifest": changed, "result": results})
        return 0
    _meaning(left, right)
    requested = {key: pair for key, pair in changed.items() if not key.startswith(("provenance.", "result."))}
    made_with = {key: pair for key, pair in changed.items() if key.startswith("provenance.")}
    _section("manifest", requested, left.path.name, right.path.name, "the manifests are equal")
    _section("made with", made_with, left.path.name, right.path.name, "")
    shown = side_by_side(*({**flat_numbers(result), **worded(result, over=False)} for result in stored))
    _section("result", shown, left.path.name, right.path.name, "neither run has a result")
    return 0


def _meaning(left: RunFolder, right: RunFolder) -> None:
    """What each answered, how far apart that is, and what keeps the two from being compared."""
    from ..runs import meaning
    from ..terminal.themes import glyph

    sides = [meaning.side(folder) for folder in (left, right)]
    rows = [
        (f"{place}", glyph(side.status.state), side.status.kind, side.name, meaning.headline(side, ascii=False))
        for place, side in enumerate(sides, 1)
    ]
    for line in columns(rows):
        out(line)
    for difference in meaning.differences(*sides):
        apart = "" if difference.errors is None else f", {difference.errors:.1f} standard errors apart"
        out(f"2 - 1  {difference.name} {difference.change}{apart}")
    if len({side.status.kind for side in sides}) > 1:
        out(f"in common: {'; '.join(meaning.shared(sides)) or 'neither model nor data'}")
    for warning in meaning.warnings(sides):
        out(f"warning: {warning}")
    out()


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, with both values; None where a side has none."""
    keys = [*left, *(key for key in right if key not in left)]
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key) and key not in NOT_COMPARED}


def side_by_side(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Every key of either, with both values."""
    return {key: (left.get(key), right.get(key)) for key in [*left, *(key for key in right if key not in left)]}


def _section(title: str, pairs: Mapping[str, tuple[Any, Any]], left: str, right: str, when_empty: str) -> None:
    if not pairs:
        if when_empty:
            out(when_empty)
        return
    rows = [(title, left, right), *((f"  {key}", _said(a), _said(b)) for key, (a, b) in pairs.items())]
    for line in columns(rows):
        out(line)


def _said(value: Any) -> str:
    from ..text.numbers import number
    from ..text.sanitise import clean

    if isinstance(value, list):
        return clean(", ".join(number(item) for item in value), limit=44)
    return number(value)
