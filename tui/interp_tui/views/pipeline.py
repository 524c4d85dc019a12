"""A pipeline: a row for each step, what the steps found together below them; enter opens the step's run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from interp_tui.runs.headlines import answer
from interp_tui.runs.runstate import RunState
from interp_tui.terminal.host import duration
from interp_tui.terminal.themes import GLYPHS
from interp_tui.text.numbers import bar
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, column, rich_style
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.payload import read
from interp_tui_engine.pipeline import NAME
from interp_tui_engine.results.interventions import EffectLine
from interp_tui_engine.results.pipeline import FoundTogether, PipelineResult, StepCase
from interp_tui_engine.runfolder import RunFolder

from .base import RunView
from .interventions import detail_text

BAR = 8
COLUMNS = (
    Column("step", 14, grow=1, most=28),
    Column("kind", 13, drop=2),
    Column("state", 13),
    Column("time", 9, right=True),
    Column("result", 20, grow=4),
)
COLOURS = {
    "done": "good",
    "failed": "bad",
    "crashed": "bad",
    "running": "accent",
    "queued": "muted",
    "interrupted": "muted",
    "paused": "warn",
}
NOTHING = read(FoundTogether, {})


@dataclass(frozen=True)
class StepRow:
    """One step as the log last told of it."""

    index: int
    name: str
    kind: str
    state: str
    seconds: float | None
    fraction: float
    headline: Mapping[str, Any]
    reason: str
    reused: str


class PipelineView(RunView):
    """The steps in their order, and what is known of the feature that they are about."""

    KINDS: ClassVar[tuple[str, ...]] = ("pipeline",)
    DEFAULT_CSS = """
    PipelineView #summary { height: auto; margin-bottom: 1; }
    PipelineView #steps { height: 1fr; min-height: 4; }
    PipelineView #found { height: auto; max-height: 60%; border-top: solid $rule; scrollbar-size-vertical: 1; }
    .-ascii PipelineView #found { border-top: ascii $rule; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[StepRow] = []
        self.findings = NOTHING
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Facts(id="summary")
        yield ListTable(COLUMNS, id="steps")
        yield Static(id="waiting")
        with VerticalScroll(id="found"):
            yield Static(id="findings")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        self.rows = [step_of(index, case) for index, case in state.cases_of(StepCase).items()]
        self.findings = state.newest("found", FoundTogether)
        self.waiting = "" if self.rows else waiting

    async def draw_plots(self) -> None:
        """There are none: what was found is drawn with the rows."""

    def draw_tables(self) -> None:
        ascii = self.app.has_class("-ascii")
        self.query_one(Facts).show(summary(self.rows), flat=True)
        table, waiting, findings = self.query_one(ListTable), self.query_one("#waiting", Static), self.query_one("#found")
        table.display, waiting.display, findings.display = bool(self.rows), bool(self.waiting), self.findings != NOTHING
        waiting.update(Text(self.waiting, end=""))
        table.set_rows([row_of(step, ascii=ascii) for step in self.rows])
        self.query_one("#findings", Static).update(found_text(self.findings, self.app.theme_variables))

    @on(ListTable.Selected)
    def _open_step(self, event: ListTable.Selected) -> None:
        step = next((step for step in self.rows if str(step.index) == event.key), None)
        if step is None or self.folder is None or not NAME.fullmatch(step.name):  # never a path that a log could have been made to hold
            return
        self.open_child(RunFolder(self.folder.path / "steps" / step.name), f"step {step.name}", step.state)

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(PipelineResult, result)
        rows = [step_of(index, step) for index, step in enumerate(stored.steps)]
        text = column(summary(rows), colours)
        for row in rows:
            numbers = answer(row.kind, row.headline, ascii=ascii, most=4)
            text.append(f"\n{row.name:<20.20} {row.state:<12} {duration(row.seconds):>8}  {numbers}")
        for sentence in stored.sentences:
            text.append(f"\n\n{clean(sentence, limit=600)}")
        return text


def step_of(index: int, case: StepCase) -> StepRow:
    """A step as an event or a result told of it; what is missing or malformed is left empty."""
    return StepRow(
        index,
        clean(case.id or "—", limit=40),
        clean(case.kind, limit=40),
        clean(case.state, limit=20),
        case.seconds,
        min(1.0, max(0.0, case.fraction or 0.0)),
        case.headline,
        clean(case.reason, limit=300),
        clean(case.reused or "", limit=100),
    )


def summary(rows: list[StepRow]) -> list[Fact]:
    """How many steps are done, how long they took, and which failed."""
    if not rows:
        return []
    done = sum(row.state == "done" for row in rows)
    facts = [Fact("steps", f"{done}/{len(rows)} done", "good" if done == len(rows) else "")]
    facts += [Fact("taken over", str(reused))] if (reused := sum(bool(row.reused) for row in rows)) else []
    if failed := [row.name for row in rows if row.state in ("failed", "crashed")]:
        facts.append(Fact("failed", ", ".join(failed), "bad", loud=True))
    return [*facts, Fact("", "enter opens a step", "muted")]


def row_of(step: StepRow, *, ascii: bool) -> Row:
    """A step's row: its numbers, or why there are none."""
    numbers = answer(step.kind, step.headline, ascii=ascii, most=4)
    well = step.state not in ("failed", "crashed", "interrupted")
    outcome = numbers if well else "  ".join(part for part in (step.reason, numbers) if part)
    state = "reused" if step.reused and step.state == "done" else step.state
    if step.state in ("running", "paused", "stopping"):
        outcome = f"{bar(step.fraction, BAR, ascii=ascii)}  {outcome}".rstrip()
    colour = COLOURS.get(step.state, "foreground")
    return Row(
        str(step.index),
        (
            Cell(step.name),
            Cell(step.kind, "muted"),
            Cell(f"{GLYPHS.get(step.state, '')} {state}".strip(), colour),
            Cell("" if step.seconds is None or step.state == "queued" else duration(step.seconds), "muted"),
            Cell(outcome, "foreground" if well else "bad"),
        ),
    )


def found_text(findings: FoundTogether, colours: Mapping[str, str]) -> Text:
    """What the steps found, in words, and the effect beside its controls on one axis."""
    text = Text(end="")
    for index, sentence in enumerate(findings.sentences):
        text.append("\n" if index else "").append("· ", rich_style(colours.get("accent", ""))).append(clean(sentence, limit=600))
    feature = findings.found
    if feature is not None and feature.effect is not None:
        ends = {"low": feature.effect_low, "high": feature.effect_high, "q": feature.effect_q}
        line = read(EffectLine, feature.model_dump() | ends)
        text.append("\n\n" if text.plain else "").append_text(detail_text(line, [line], colours))
    return text
