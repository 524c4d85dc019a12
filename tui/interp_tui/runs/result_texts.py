"""What a run's Result tab says, and what stands in its Live tab before there is anything to show. Headless."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rich.text import Text

from interp_tui_engine.numbers import as_finite
from interp_tui_engine.runfolder import ACTIVE, Status

from ..terminal.host import duration
from ..text.numbers import quantities
from ..text.sanitise import clean
from ..widgets.facts import Fact, column, rich_style
from .certainty import section
from .follow import Documents
from .headlines import answer
from .runstate import RunState

ResultText = Callable[..., Text]
WARNINGS = 3
"""Warnings, the newest, that are repeated where a run has no result."""


class ResultTexts(NamedTuple):
    """What stands in the Result tab around the report: the answer above it; the numbers and the arrays' hashes below or beside it."""

    verdict: Text
    numbers: Text
    hashes: Text


def result_texts(
    documents: Documents, state: RunState, status: Status, said: ResultText, colours: Mapping[str, str], *, ascii: bool, wide: bool
) -> ResultTexts:
    """The answer in words, the numbers as the kind's view words them (`said`), and the digests of the arrays they came from."""
    nothing = Text(end="")
    if documents.result is None:
        if documents.damage:
            verdict = Text(documents.damage, rich_style(colours.get("bad", "")), end="")
            return ResultTexts(verdict, _so_far(state, colours, ascii=ascii), nothing)
        return ResultTexts(_unfinished(state, status, colours, ascii=ascii), _so_far(state, colours, ascii=ascii), nothing)
    numbers = said(documents.result, colours, ascii=ascii)
    numbers.append_text(section(documents.result, colours, ascii=ascii))
    return ResultTexts(_verdict(documents, state, status, colours, ascii=ascii), numbers, _hashes(documents.digests, colours, wide=wide))


def _verdict(documents: Documents, state: RunState, status: Status, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The answer, and how long it took."""
    text = Text(answer(status.kind, status.headline or documents.result or {}, ascii=ascii), "bold", end="")
    seconds = state.ending.seconds if state.ending is not None else as_finite((documents.result or {}).get("seconds"))
    if seconds is not None:
        text.append(f"{'   ' if text.plain else ''}took {duration(seconds)}", rich_style(colours.get("muted", "")))
    return text


def _hashes(digests: Mapping[str, Any], colours: Mapping[str, str], *, wide: bool) -> Text:
    text = Text(end="")
    for name, value in digests.items():
        text.append(f"{chr(10) if text.plain else ''}{clean(name, limit=36):<36} ")
        text.append(clean(str(value), limit=64 if wide else 32), rich_style(colours.get("muted", "")))
    return text


def _unfinished(state: RunState, status: Status, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """That there is no result, or not yet, how far the run is, and what it would answer as it stands."""
    muted = rich_style(colours.get("muted", ""))
    if status.state in ACTIVE:
        text = Text("no result yet: it is written when the run is done", muted, end="")
    else:
        at = f" at {state.done:,.0f} of {state.total:,.0f} {clean(state.unit, limit=20)}" if state.total else ""
        text = Text(f"no result: {status.state}{at}", rich_style(colours.get("warn", "")), end="")
        if state.checkpoint is not None:
            text.append(f"   checkpoint at step {state.checkpoint.step:,}; r resumes" if status.resumable else "", muted)
    so_far = answer(state.kind, {**state.latest.get("estimate", {}), **state.latest.get("headline", {})}, ascii=ascii)
    return text.append(f"\n\nso far  {so_far}" if so_far else "", "bold")


def _so_far(state: RunState, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The numbers that the run told of before it ended, or until now: none of them is a result."""
    told = {**state.latest.get("estimate", {}), **state.latest.get("headline", {})}
    facts = [Fact(sign, said, "muted" if unclear else "") for sign, said, unclear in quantities(told, ascii=ascii)]
    facts += [Fact("parts measured", f"{len(state.cases):,}")] if state.cases else []
    facts += [Fact("batches of cells", f"{len(state.cells):,}")] if state.cells else []
    facts += [Fact(f"chain {chain}", f"failed at step {failure.step:,}", "bad") for chain, failure in sorted(state.failures.items())]
    facts += [Fact("warning", clean(text, limit=200), "warn") for text in list(state.warnings)[-WARNINGS:]]
    if not facts:
        return Text(end="")
    text = Text("as the run last told; Live draws all of it\n", rich_style(colours.get("muted", "")), end="")
    return text.append_text(column(facts, colours))


def waiting_for(state: RunState, status: Status) -> str:
    """What a run without anything to show is doing."""
    if status.state not in ACTIVE:
        return f"this run ended before its first draw: {status.state}"
    if status.state == "queued" or not state.phase:
        return "waiting for the worker"
    if state.phase != "sampling":
        return clean(f"{state.phase}: {state.phase_detail}" if state.phase_detail else state.phase, limit=70)
    row = next(iter(state.chains()), None)
    if row is not None and row.step < state.burnin:
        return f"burn-in, step {row.step:,} of {state.burnin:,}"
    return "no draws yet"
