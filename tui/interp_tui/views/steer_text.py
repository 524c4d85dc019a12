"""Steering: prompts by strength, and what the model wrote before and under it side by side, new words marked."""

from __future__ import annotations

from collections.abc import Mapping
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
from interp_tui_engine.numbers import as_finite as finite

from .base import QuietTable, RunView, scalars

COLUMNS = (
    Column("prompt", 24, grow=3, most=70),
    Column("at", 6, right=True),
    Column("KL, nats", 9, right=True),
    Column("Δ log P", 8, right=True, drop=2),
    Column("writes", 14, grow=2, most=50, drop=1),
)
Told = Mapping[str, Any]


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
        self.told: list[Told] = []
        self.header: Told = {}
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
        self.told = [state.cells[step] for step in sorted(state.cells) if isinstance(state.cells[step].get("after"), list)]
        self.header = next((told for told in self.told if "verb" in told), {})
        self.waiting = "" if self.told else waiting

    async def draw_plots(self) -> None:
        """There are none: the rows are drawn with the tables."""

    def draw_tables(self) -> None:
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        rows = [row(f"{i}.{j}", told, after) for i, told in enumerate(self.told) for j, after in enumerate(_after(told))]
        table.display = self.query_one("#texts").display = bool(rows)
        waiting.display = bool(self.waiting)
        waiting.update(self.waiting)
        table.set_rows(rows)
        self.query_one("#facts", Facts).show(self._facts(), flat=True)
        self._show_texts()

    def _facts(self) -> list[Fact]:
        if not self.header:
            return []
        step = finite(self.header.get("step"))
        said = {"add": "added", "ablate": "removed", "clamp": "held"}.get(str(self.header.get("verb")), "—")
        return [
            Fact("direction", clean(str(self.header.get("direction")), limit=60), "accent"),
            Fact(said, f"at {clean(str(self.header.get('site')), limit=30)}, every token"),
            Fact("1 is", number(step, 3)),
        ]

    @on(ListTable.Highlighted)
    def _show_texts(self) -> None:
        key = self.query_one(ListTable).key
        if key is None:
            return
        i, j = map(int, key.split("."))
        afters = _after(self.told[i]) if i < len(self.told) else []
        if j >= len(afters):
            return
        told, after = self.told[i], afters[j]
        before_tokens, after_tokens = _tokens(told, "before_tokens"), _tokens(after, "after_tokens")
        colours = self.app.theme_variables
        muted, accent = (rich_style(colours.get(name, "")) for name in ("muted", "accent"))
        prompt = clean(str(told.get("prompt")), limit=2000)
        for name, title, tokens, other in (
            ("#before", "before", before_tokens, None),
            ("#after", f"at {strength_text(after.get('strength'))}", after_tokens, before_tokens),
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
        curve = result.get("curve")
        if not isinstance(curve, list):
            return scalars(result, colours, ascii=ascii)
        facts = [Fact("direction", clean(str(result.get("direction")), limit=60)), Fact("site", clean(str(result.get("site")), limit=30))]
        for point in curve[:100]:
            if isinstance(point, Mapping):
                effect = finite(point.get("effect"))
                said = f"KL {number(finite(point.get('kl')), 3)} nats" + (f"   Δ log P {effect:+.3f}" if effect is not None else "")
                facts.append(Fact(f"at {strength_text(point.get('strength'))}", said))
        return column(facts, colours)


def _after(told: Told) -> list[Told]:
    found = told.get("after")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _tokens(told: Told, name: str) -> list[str]:
    found = told.get(name)
    return [clean(str(token), limit=60) for token in found[:4096]] if isinstance(found, list) else []


def row(key: str, told: Told, after: Told) -> Row:
    """One prompt at one strength as a table row."""
    before, now = finite(told.get("before_logprob")), finite(after.get("after_logprob"))
    gain = round(now - before, 2) + 0.0 if before is not None and now is not None else None
    changed = _tokens(told, "before_tokens") != _tokens(after, "after_tokens")
    return Row(
        key,
        (
            Cell(clean(str(told.get("prompt")), limit=200)),
            Cell(strength_text(after.get("strength"))),
            Cell(number(finite(after.get("kl")), 3)),
            Cell("—" if gain is None else f"{gain:+.2f}", "good" if (gain or 0) > 0 else "bad" if (gain or 0) < 0 else "muted"),
            Cell("".join(_tokens(after, "after_tokens")).strip() or "—", "accent" if changed else "muted"),
        ),
    )


def strength_text(value: Any) -> str:
    """A strength as it was written: 0.5, 2."""
    found = finite(value)
    return "—" if found is None else f"{found:g}"
