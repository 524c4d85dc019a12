"""A match run: pairs of features, best first; below, the two cards of the pair under the cursor side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.results.match import FeatureMatch, MatchCase, ShownCard

from .base import QuietTable, RunView, scalars

BEYOND = 0.95
COLUMNS = (
    Column("left", 12, grow=2, most=30),
    Column("right", 12, grow=2, most=30),
    Column("score", 6, right=True),
    Column("chance", 8, right=True),
    Column("text", 5, right=True, drop=3),
    Column("activ.", 6, right=True, drop=2),
    Column("decod.", 6, right=True, drop=5),
    Column("causal", 6, right=True, drop=4),
    Column("effects", 13, right=True, drop=1),
    Column("label", 8, grow=3, most=50, drop=6),
)


class MatchView(RunView):
    """A row a pair, under a line that says how many are beyond chance."""

    KINDS: ClassVar[tuple[str, ...]] = ("match",)
    DEFAULT_CSS = """
    MatchView #summary { height: auto; }
    MatchView #pairs { height: 1fr; min-height: 5; }
    MatchView #cards { height: 9; layout: horizontal; border-top: solid $rule; }
    MatchView #cards Static { width: 1fr; height: 100%; padding: 0 1 0 0; }
    .-ascii MatchView #cards { border-top: ascii $rule; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[MatchCase] = []
        self.facts: list[Fact] = []
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Facts(id="summary")
        yield QuietTable(COLUMNS, id="pairs")
        with Container(id="cards"):
            yield Static(id="left")
            yield Static(id="right")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        self.pairs = [*state.cases_of(MatchCase).values()]
        beyond = sum((pair.null_quantile or 0.0) >= BEYOND for pair in self.pairs)
        self.facts = (
            [
                *(Fact("matches", str(len(self.pairs))), Fact("beyond chance", str(beyond), "good" if beyond else "")),
                Fact("by accident", f"≈ {(1 - BEYOND) * len(self.pairs):.0f}"),
            ]
            if self.pairs
            else []
        )
        doing = f"{state.phase}: {state.phase_detail}" if state.phase_detail else state.phase or waiting
        self.waiting = "" if self.pairs else "no pair" if state.ending is not None else clean(doing, limit=100)

    async def draw_plots(self) -> None:
        """There are none."""

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self.facts, flat=True)
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        table.display = self.query_one("#cards").display = bool(self.pairs)
        waiting.display = bool(self.waiting)
        waiting.update(Text(self.waiting, end=""))
        table.set_rows([pair_row(index, pair) for index, pair in enumerate(self.pairs)])
        self._show_cards()

    @on(ListTable.Highlighted)
    def _show_cards(self) -> None:
        key = self.query_one(ListTable).key
        pair = self.pairs[int(key)] if key is not None and int(key) < len(self.pairs) else None
        for side, card in (("left", pair.left_card), ("right", pair.right_card)) if pair is not None else ():
            self.query_one(f"#{side}", Static).update(card_text(card, self.app.theme_variables))

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return scalars(result, colours, ascii=ascii, skip=frozenset({"matches"}))


def pair_row(index: int, pair: FeatureMatch) -> Row:
    """One pair as a line; an axis that was dropped is a dash."""
    quantile = pair.null_quantile
    colour = "good" if quantile is not None and quantile >= BEYOND else "muted"
    effects = (pair.left_signed_effect, pair.right_signed_effect)
    opposed = effects[0] is not None and effects[1] is not None and effects[0] * effects[1] < 0
    numbers = " / ".join("—" if effect is None else f"{effect:+.2f}" for effect in effects) if any(e is not None for e in effects) else "—"

    def part(name: str) -> Cell:
        value = pair.components.get(name)
        return Cell("—" if value is None else f"{value:.2f}", "muted")

    return Row(
        str(index),
        (
            Cell(clean(pair.left or "—", limit=60)),
            Cell(clean(pair.right or "—", limit=60)),
            Cell("—" if pair.score is None else f"{pair.score:.3f}"),
            Cell("—" if quantile is None else f"{quantile:.1%}".replace("%", " %"), colour),
            *(part(name) for name in ("text", "activation", "decoder", "causal")),
            Cell(numbers, "bad" if opposed else "foreground"),
            Cell(clean(pair.left_label or "", limit=80), "muted"),
        ),
    )


def card_text(card: ShownCard, colours: Mapping[str, str]) -> Text:
    """One side's card, to be wrapped by its panel."""
    text = Text(end="")
    text.append(clean(card.feature_id or "", limit=60), rich_style(colours.get("accent", ""), bold=True))
    label = clean(card.label or "", limit=100)
    text.append(f"  {label}" if label else "")
    where = clean(card.model or "", limit=60) + (f", layer {number(card.layer)}" if card.layer is not None else "")
    text.append(f"\n{where}", rich_style(colours.get("muted", "")))
    explanation = clean(card.explanation or "", limit=240)
    text.append(f"\n{explanation}" if explanation else "")
    for example in card.examples:
        text.append(f"\n{clean(' '.join(example.split()), limit=160)}", rich_style(colours.get("muted", "")))
    return text
