"""Steering: prompts by strength, and what the model wrote before and under it side by side, new words marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, column, rich_style
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.payload import read
from interp_tui_engine.results.steer_text import SteeredVariant, SteerTextCell, SteerTextResult

from .base import QuietTable, RunView, scalars

COLUMNS = (
    Column("prompt", 24, grow=3, most=70),
    Column("at", 6, right=True),
    Column("KL, nats", 9, right=True),
    Column("Δ log P", 8, right=True, drop=2),
    Column("writes", 14, grow=2, most=50, drop=1),
)


class SteerTextView(RunView):
    """A row a prompt and strength; the one under the cursor is shown in full below."""

    KINDS: ClassVar[tuple[str, ...]] = ("steer_text",)
    DEFAULT_CSS = """
    SteerTextView #facts { height: auto; margin-bottom: 1; }
    SteerTextView #rows { height: 1fr; min-height: 4; }
    SteerTextView #texts { height: 40%; margin-top: 1; }
    SteerTextView VerticalScroll { width: 1fr; scrollbar-size-vertical: 1; }
    SteerTextView #right { border-left: solid $rule; padding: 0 0 0 2; }
    .-ascii SteerTextView #right { border-left: ascii $rule; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[SteerTextCell] = []
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Facts(id="facts")
        yield QuietTable(COLUMNS, id="rows")
        with Horizontal(id="texts"):
            with VerticalScroll(can_focus=False):
                yield Static(id="before")
            with VerticalScroll(id="right", can_focus=False):
                yield Static(id="after")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        self.prompts = [cell for cell in state.cells_of(SteerTextCell).values() if cell.after]
        self.waiting = "" if self.prompts else waiting

    async def draw_plots(self) -> None:
        """There are none: the rows are drawn with the tables."""

    def draw_tables(self) -> None:
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        rows = [row(f"{i}.{j}", cell, after) for i, cell in enumerate(self.prompts) for j, after in enumerate(cell.after)]
        table.display = self.query_one("#texts").display = bool(rows)
        waiting.display = bool(self.waiting)
        waiting.update(self.waiting)
        table.set_rows(rows)
        self.query_one("#facts", Facts).show(self._facts(), flat=True)
        self._show_texts()

    def _facts(self) -> list[Fact]:
        header = next((cell for cell in self.prompts if cell.verb), None)
        if header is None:
            return []
        done_to_it = {"add": "added", "ablate": "removed", "clamp": "held"}.get(header.verb, "—")
        return [
            Fact("direction", clean(header.direction, limit=60), "accent"),
            Fact(done_to_it, f"at {clean(header.site, limit=30)}, every token"),
            Fact("1 is", number(header.step, 3)),
        ]

    @on(ListTable.Highlighted)
    def _show_texts(self) -> None:
        key = self.query_one(ListTable).key
        if key is None:
            return
        i, j = map(int, key.split("."))
        if i >= len(self.prompts) or j >= len(self.prompts[i].after):
            return
        cell, after = self.prompts[i], self.prompts[i].after[j]
        before_tokens, after_tokens = _tokens(cell.before_tokens), _tokens(after.after_tokens)
        colours = self.app.theme_variables
        muted, accent = (rich_style(colours.get(name, "")) for name in ("muted", "accent"))
        prompt = clean(cell.prompt, limit=2000)
        for name, title, tokens, other in (
            ("#before", "before", before_tokens, None),
            ("#after", f"at {plain(after.strength)}", after_tokens, before_tokens),
        ):
            text = Text(end="")
            text.append(f"{title}\n", muted)
            text.append(prompt, muted)
            for place, token in enumerate(tokens):
                changed = other is not None and token != (other[place] if place < len(other) else None)
                text.append(token, f"bold {accent}" if changed else "")
            if not tokens:
                text.append(" (ends the text)", muted)
            self.query_one(name, Static).update(text)

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(SteerTextResult, result)
        if not stored.curve:
            return scalars(result, colours, ascii=ascii)
        facts = [Fact("direction", clean(stored.direction, limit=60)), Fact("site", clean(stored.site, limit=30))]
        for point in stored.curve[:100]:
            line = f"KL {number(point.kl, 3)} nats" + (f"   Δ log P {point.effect:+.3f}" if point.effect is not None else "")
            facts.append(Fact(f"at {plain(point.strength)}", line))
        return column(facts, colours)


def _tokens(tokens: Sequence[str]) -> list[str]:
    return [clean(token, limit=60) for token in tokens[:4096]]


def row(key: str, cell: SteerTextCell, after: SteeredVariant) -> Row:
    """One prompt at one strength as a table row."""
    before, now = cell.before_logprob, after.after_logprob
    gain = round(now - before, 2) + 0.0 if before is not None and now is not None else None
    changed = cell.before_tokens != after.after_tokens
    return Row(
        key,
        (
            Cell(clean(cell.prompt, limit=200)),
            Cell(plain(after.strength)),
            Cell(number(after.kl, 3)),
            Cell("—" if gain is None else f"{gain:+.2f}", "good" if (gain or 0) > 0 else "bad" if (gain or 0) < 0 else "muted"),
            Cell("".join(_tokens(after.after_tokens)).strip() or "—", "accent" if changed else "muted"),
        ),
    )


def plain(strength: float | None) -> str:
    """A strength as it was written: 0.5, 2."""
    return "—" if strength is None else f"{strength:g}"
