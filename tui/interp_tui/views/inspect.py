"""An inspect run: every feature, ranked, to be sorted and filtered; beside them the card of the one under the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from interp_tui.runs.cross_links import links
from interp_tui.runs.feature_table import REPEATS, SORTS, FeatureTable, load
from interp_tui.runs.runstate import RunState
from interp_tui.terminal.guard import Guarded
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts
from interp_tui.widgets.filter_line import FilterLine
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.payload import read
from interp_tui_engine.results.inspect import FeatureCard, InspectHeadline, RankedFeature, RecordsRead

from .base import WIDE, QuietTable, RunView, scalars
from .inspect_card import card_text, strongest

COLUMNS = (
    Column("rank", 5, right=True),
    Column("feature", 12, grow=2, most=34),
    Column("label", 12, grow=6, most=60, drop=2),
    Column("AUROC", 11, right=True),
    Column("q", 7, right=True),
    Column("effect (95 %)", 22, right=True, drop=1),
    Column("side", 6, right=True, drop=4),
    Column("stable", 6, right=True, drop=3),
    Column("again", 6, right=True, drop=2),
)
CAUSAL = ("effect (95 %)", "side")
"""Columns that are left out where nothing was changed: all their cells would be dashes."""
AGAIN = ("again",)
"""Of latents, the cosine with their like from another start; left out where none was trained."""
EXAMPLES = "auroc > .8 & layer = 2, clear, label ~ city"


class CardPanel(Guarded, Static):
    """Where a card is drawn; says when it has another size, since a card is written to measure."""

    class Resized(Message):
        """It has been laid out."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())


class InspectView(RunView):
    """A table of features with a filter line over it and a card beside or below it."""

    KINDS: ClassVar[tuple[str, ...]] = ("inspect",)
    DEFAULT_CSS = """
    InspectView #summary { height: auto; }
    InspectView #body { height: 1fr; layout: vertical; }
    InspectView #features { height: 1fr; min-height: 5; width: 100%; }
    InspectView #card { height: 9; width: 100%; text-wrap: nowrap; text-overflow: ellipsis; border-top: solid $rule; }
    InspectView.-wide #body { layout: horizontal; }
    InspectView.-wide #features { width: 5fr; height: 100%; }
    InspectView.-wide #card { width: 3fr; height: 100%; border-top: none; border-left: solid $rule; padding: 0 0 0 1; }
    .-ascii InspectView #card { border-top: ascii $rule; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="inspect.filter", key_display="/"),
        Binding("o", "sort(1)", "Sort", id="inspect.sort"),
        Binding("O", "sort(-1)", "Sort by the column before", show=False, id="inspect.sort.before", key_display="O"),
        Binding("l", "links", "Links", id="inspect.links", tooltip="what other runs say of this feature's layer and texts"),
        Binding("escape", "clear", "Clear the filter", show=False, id="inspect.clear"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.table: FeatureTable | None = None
        self.facts: list[Fact] = []
        self.waiting = ""
        self.finished = False
        self.filter = ""
        self.sort = 0
        self._shown: tuple[str, int] | None = None

    def compose(self) -> ComposeResult:
        yield Facts(id="summary")
        yield FilterLine(EXAMPLES)
        with Container(id="body"):
            yield QuietTable(COLUMNS, id="features")
            yield CardPanel(id="card")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def token_at(self) -> tuple[str, ...]:
        """Where the feature under the cursor fires most, of what its card shows."""
        key = self.query_one(ListTable).key
        stored = self.table.cards.get(key) if self.table is not None and key is not None else None
        return strongest(read(FeatureCard, stored)) if stored is not None else ()

    def take(self, state: RunState, waiting: str) -> None:
        self.finished = state.ending is not None and state.ending.state == "done"
        self.facts = facts(state)
        # waiting_for speaks of draws; this run has rows and features
        self.waiting = "" if self.finished else clean(f"{state.phase}: {state.phase_detail}" if state.phase else waiting, limit=100)
        if state.ending is not None and not self.finished:
            self.waiting = clean(f"this run ended before its table was written: {state.ending.state}", limit=100)

    async def draw_plots(self) -> None:
        if self.finished and self.table is None and self.folder is not None:
            self.table = await asyncio.to_thread(load, self.folder.path)
            if self.table is None:
                self.waiting = "its features.parquet cannot be read"

    def draw_tables(self) -> None:
        facts = [*self.facts, Fact("sorted by", SORTS[self.sort][0])] if self.table is not None else self.facts
        table, waiting = self.query_one(ListTable), self.query_one("#waiting", Static)
        if self.table is not None and (self.filter, self.sort) != self._shown:
            self._show_rows(self.table, table)
        if self.table is not None:
            facts = [*facts, self._position(self.table, table)]
        self.query_one("#summary", Facts).show(facts, flat=True)
        self.query_one("#body").display = self.table is not None
        waiting.display = self.table is None
        waiting.update(Text(self.waiting, end=""))
        self._show_card()

    def _show_rows(self, features: FeatureTable, table: ListTable) -> None:
        line = self.query_one(FilterLine)
        try:
            rows = features.chosen(self.filter, self.sort)
        except ValueError as error:
            line.say(clean(str(error), limit=120))
            return
        line.say("" if rows else "no feature")
        self._shown = (self.filter, self.sort)
        names = features.columns["feature_id"]
        causal, again = (any(value is not None for value in features.columns.get(name, ())) for name in ("effect", "repeats"))
        absent = (() if causal else CAUSAL) + (() if again else AGAIN)
        table.columns = tuple(column for column in COLUMNS if column.title not in absent)

        def made(place: int) -> Row:
            return feature_row(read(RankedFeature, features.row(rows[place])), causal=causal, again=again)

        table.set_long([names[index] for index in rows], made)

    @staticmethod
    def _position(features: FeatureTable, table: ListTable) -> Fact:
        """Which row the cursor is on, of how many that are shown, of how many there are."""
        of = f" (of {len(features):,})" if len(table.rows) != len(features) else ""
        return Fact("row", f"{table.cursor + 1 if table.rows else 0:,} of {len(table.rows):,}{of}")

    def _show_card(self) -> None:
        card, key = self.query_one("#card", Static), self.query_one(ListTable).key
        if self.table is None or key is None:
            card.update("")
            return
        row = read(RankedFeature, self.table.row(self.table.place[key]))
        stored = self.table.cards.get(key)
        width, height = max(20, card.content_size.width), max(4, card.content_size.height)
        colours, ascii = self.app.theme_variables, self.app.has_class("-ascii")
        card.update(card_text(row, None if stored is None else read(FeatureCard, stored), width, height, colours, ascii=ascii))

    @on(ListTable.Highlighted)
    @on(CardPanel.Resized)
    def _moved(self) -> None:
        self._show_card()
        if self.table is not None:
            facts = [*self.facts, Fact("sorted by", SORTS[self.sort][0]), self._position(self.table, self.query_one(ListTable))]
            self.query_one("#summary", Facts).show(facts, flat=True)

    @on(FilterLine.Changed)
    def _filtered(self, event: FilterLine.Changed) -> None:
        self.filter = event.text
        self.draw_tables()

    @on(FilterLine.Done)
    def _typed(self, event: FilterLine.Done) -> None:
        if event.still:
            self.query_one(ListTable).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where there is no filter to clear, esc is the screen's."""
        return action != "clear" or self.query_one(FilterLine).display

    def action_filter(self) -> None:
        self.query_one(FilterLine).start()

    def action_clear(self) -> None:
        self.query_one(FilterLine).clear()
        self.filter = ""
        self.draw_tables()

    def action_sort(self, by: int) -> None:
        self.sort = (self.sort + by) % len(SORTS)
        self.draw_tables()

    @work(exclusive=True, group="links")
    async def action_links(self) -> None:
        """Show what other runs of the model say of the feature under the cursor."""
        key = self.query_one(ListTable).key
        stored = self.table.cards.get(key) if self.table is not None and key is not None else None
        if stored is None or self.folder is None:
            self.app.notify("this feature has no card" if self.table is not None else "its table is not there yet")
            return
        linked = await asyncio.to_thread(links, self.folder, read(FeatureCard, stored))
        lines = [
            Content("\n").join([Content.styled(each.title, "bold"), *(Content(f"  {line}") for line in each.lines)]) for each in linked
        ]
        none = "No susceptibilities or bif run of this model is about its layer or its texts."
        self.post_message(self.Told(clean(str(key), limit=60), Content("\n\n").join(lines) if lines else Content(none)))

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return scalars(result, colours, ascii=ascii, skip=frozenset({"cards"}))


def facts(state: RunState) -> list[Fact]:
    """How much was read, and what was found."""
    so_far, headline = state.newest("records", RecordsRead), state.newest("headline", InspectHeadline)
    facts = [Fact("rows", number(so_far.rows))] if so_far.rows is not None else []
    facts += [Fact("features", number(so_far.features))] if so_far.features is not None else []
    if headline.associated is not None:
        facts += [Fact("go with the criterion", number(headline.associated), "accent")]
        facts += [Fact("cause it", number(headline.causal or 0), "good" if headline.causal else "")]
    elif so_far.rows_per_second is not None:
        facts.append(Fact("rows a second", f"{so_far.rows_per_second:,.0f}"))
    return facts


def feature_row(row: RankedFeature, *, causal: bool = True, again: bool = False) -> Row:
    """One feature as a line of the table; a value that is not known is a dash. Without `causal` nothing is said of effects, and without
    `again` nothing of other starts."""
    area, low, high = row.auroc, row.auroc_low, row.auroc_high
    half = (high - low) / 2 if low is not None and high is not None else None
    strength = "—" if area is None else f"{area:.3f}" + (f" ±{half:.3f}".replace("±0.", "±.") if half is not None else "")
    effect, lower, upper = row.effect, row.effect_low, row.effect_high
    wording = (
        "—" if effect is None else short(effect) + (f" [{short(lower)}, {short(upper)}]" if lower is not None and upper is not None else "")
    )
    clear, tier, name = row.clear is True, row.tier, row.feature_id
    side = Cell("—" if row.side_effect is None else f"{row.side_effect:.2f}", "muted")
    colour = "good" if clear else "foreground" if effect is not None else "muted"
    return Row(
        name,
        (
            Cell("—" if row.rank is None else str(row.rank)),
            Cell(clean(name, limit=60), "foreground" if tier else "muted"),
            Cell(clean(row.label or "", limit=80)),
            Cell(strength, "foreground" if tier else "muted"),
            Cell(small(row.q), "muted"),
            *((Cell(f"{wording} {'◆' if clear else ' '}", colour), side) if causal else ()),
            Cell("—" if row.stability is None else f"{row.stability:.2f}", "muted"),
            *((_again(row.repeats),) if again else ()),
        ),
    )


def _again(cosine: float | None) -> Cell:
    """A latent's cosine with its like from another start; marked where it repeats."""
    if cosine is None:
        return Cell("—", "muted")
    return Cell(f"{cosine:.2f} ↻", "good") if cosine >= REPEATS else Cell(f"{cosine:.2f}  ", "muted")


def short(value: float) -> str:
    """Three figures, at most: `−6.1`, `0.27`."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def small(value: float | None) -> str:
    """A p- or q-value: `.023`, `<1e-6`, `1`."""
    if value is None:
        return "—"
    if value < 1e-6:
        return "<1e-6"
    return f"{value:.1e}" if value < 1e-3 else f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1"
