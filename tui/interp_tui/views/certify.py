"""Certification: each case's known learning coefficient against its estimate, and what is known to lie between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.terminal.host import duration
from interp_tui.text.numbers import number, with_error
from interp_tui.text.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import Fact, Facts, column
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.payload import read
from interp_tui_engine.results.certify import CertifyResult, KnownCase

from .base import QuietTable, RunView

TOLERANCE = 0.10
LIMIT = 0.25
MOST_REASONS = 2
AXIS = 15

COLUMNS = (
    Column("case", 23, grow=3, most=44),
    Column("family", 12, grow=1, most=26, drop=3),
    Column("true λ", 7, right=True),
    Column("estimate", 15, right=True),
    Column("error %", 7, right=True, drop=1),
    Column("  −10  0  +10  ", AXIS),
    Column("step bias", 9, right=True, drop=4),
    Column("finite T", 9, right=True, drop=5),
    Column("time", 8, right=True, drop=2),
    Column("", 8),
)


class CertifyView(RunView):
    """A row a case, in the order they ran."""

    KINDS: ClassVar[tuple[str, ...]] = ("certify",)
    DEFAULT_CSS = """
    CertifyView #cases { height: 1fr; }
    CertifyView #summary { height: auto; margin-bottom: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.facts: list[Fact] = []
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Facts(id="summary")
        yield QuietTable(COLUMNS, id="cases")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        cases = [*state.cases_of(KnownCase).values()]
        self.rows = [case_row(index, case) for index, case in enumerate(cases)]
        self.facts = summary(cases, int(state.total))
        self.waiting = waiting if not cases else ""

    async def draw_plots(self) -> None:
        """There are none: the rows are drawn with the tables."""

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self.facts, flat=True)
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        table.display, waiting.display = bool(self.rows), bool(self.waiting)
        waiting.update(self.waiting)
        table.set_rows(self.rows)

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        cases = read(CertifyResult, result).cases
        text = column([*summary(cases, len(cases))], colours)
        for case in cases:
            name, _, true, estimate, error, *_, mark = (cell.text for cell in case_row(0, case).cells)
            text.append(f"\n{name:<30.30} {true:>8} {estimate:>16} {error:>8} {mark}")
        return text


def summary(cases: Sequence[KnownCase], total: int) -> list[Fact]:
    """How many passed so far, and the largest relative error."""
    passed = sum(case.passed is True for case in cases)
    failed = sum(case.passed is False for case in cases)
    errors = [abs(error) for case in cases if (error := relative_error(case)) is not None]
    facts = [Fact("cases", f"{len(cases)}/{max(total, len(cases))}"), Fact("passed", str(passed), "good" if passed and not failed else "")]
    if failed:
        facts.append(Fact("failed", str(failed), "bad", loud=True))
        facts += [Fact("why", why, "bad") for why in reasons(cases)[:MOST_REASONS]]
    if errors:
        facts.append(Fact("largest error", f"{max(errors):.1%}".replace("%", " %")))
    return facts


def reasons(cases: Sequence[KnownCase]) -> list[str]:
    """Why cases failed, a sentence each."""
    failed = [case for case in cases if case.passed is False and case.reason]
    return [clean(f"{case.name or 'case'}: {case.reason}", limit=200) for case in failed]


def relative_error(case: KnownCase) -> float | None:
    """(estimate - true) / true."""
    return (case.estimate - case.true) / case.true if case.true and case.estimate is not None else None


def case_row(index: int, case: KnownCase) -> Row:
    """One case as a table row; a value that is not known is a dash."""
    relative = relative_error(case)
    mark, colour = {True: ("✓ passed", "good"), False: ("✗ failed", "bad"), None: ("…", "muted")}[case.passed]
    share = case.std_error / abs(case.true) if case.std_error is not None and case.true else 0.0
    axis = on_axis(relative, AXIS, limit=LIMIT, mark=TOLERANCE, error=share)
    return Row(
        str(index),
        (
            Cell(clean(case.name or "—", limit=60)),
            Cell(clean(case.family or "—", limit=40), "muted"),
            Cell(number(case.true)),
            Cell(with_error(case.estimate, case.std_error) if case.estimate is not None else "—"),
            Cell(f"{relative:+.1%}".rstrip("%") if relative is not None else "—", colour),
            Cell(axis, colour),
            Cell(number(case.step_bias, 3), "muted"),
            Cell(number(case.finite_temperature, 3), "muted"),
            Cell(duration(case.seconds), "muted"),
            Cell(mark, colour),
        ),
    )
