"""Susceptibilities: parts by data as a heatmap that fills while parts are sampled, and under it the tokens of a row, coloured."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from interp_tui.runs.arrays import identifier
from interp_tui.runs.runstate import RunState
from interp_tui.text.ascii_words import spelled
from interp_tui.text.numbers import number, with_error
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.token_strip import TokenStrip
from interp_tui_engine.payload import read
from interp_tui_engine.results.susceptibilities import PartCase, PartNow, SusceptibilitiesResult, TopToken

from . import susceptibilities_result
from .base import WIDE, RunView
from .susceptibilities_result import QUANTITIES, RANKED
from .susceptibilities_tokens import ResponseTokens

SIGNS = {"covariance": "covariance", "first_order": "first order", "shift": "shift", "mean": "χ"}


class SusceptibilitiesView(RunView):
    """Rows are parts, columns data sets; enter goes to the tokens and back."""

    KINDS: ClassVar[tuple[str, ...]] = ("susceptibilities",)
    DEFAULT_CSS = """
    SusceptibilitiesView #now { height: auto; max-height: 2; }
    SusceptibilitiesView #body { height: 1fr; layout: vertical; }
    SusceptibilitiesView Heatmap { height: 1fr; min-height: 4; }
    SusceptibilitiesView #side { height: auto; max-height: 60%; }
    SusceptibilitiesView #cell { height: auto; margin-top: 1; }
    SusceptibilitiesView #row { height: 1; }
    SusceptibilitiesView TokenStrip { max-height: 8; }
    SusceptibilitiesView.-wide #body { layout: horizontal; }
    SusceptibilitiesView.-wide #side { width: 1fr; height: 100%; max-height: 100%; border-left: solid $rule; padding: 0 0 0 2; }
    SusceptibilitiesView.-wide #cell { margin: 0 0 1 0; }
    SusceptibilitiesView.-wide TokenStrip { max-height: 16; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "switch", "Tokens", id="susceptibilities.switch", tooltip="to the tokens of a row, and back to the heatmap"),
        Binding("n", "row(1)", "Row", id="susceptibilities.row", tooltip="the next row of the data set"),
        Binding("N", "row(-1)", "Row before", show=False, id="susceptibilities.row.before"),
        Binding(
            "s",
            "strongest",
            "Strongest",
            id="susceptibilities.strongest",
            tooltip="the token of this part that responds most, then the next",
        ),
        Binding(
            "v",
            "quantity(1)",
            "Quantity",
            id="susceptibilities.quantity",
            tooltip="the sampled covariance, its exact first order, the shift, or χ: covariance and shift together",
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.cases: list[PartCase] = []
        self.zero: set[str] = set()
        """Data sets that every part responds to with 0: that which the chains sample."""
        self.data: list[str] = []
        self.tokens: ResponseTokens | None = None
        self.row = 0
        self.top = -1
        """Which of the strongest tokens was gone to last."""
        self.waiting = ""
        self.done = False
        self.result: SusceptibilitiesResult | None = None
        self.quantity = 0
        """How far the user has gone on from the quantity that the run is ranked by."""

    def compose(self) -> ComposeResult:
        yield Static(id="now")
        with Container(id="body"):
            yield Heatmap(corner="part", id="grid")
            with Vertical(id="side"):
                yield Facts(id="cell")
                yield Static(id="row")
                yield TokenStrip()

    def on_focus(self) -> None:
        self.query_one(Heatmap).focus()

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    def take(self, state: RunState, waiting: str) -> None:
        self.cases = [*state.cases_of(PartCase).values()]
        data = {name: None for case in self.cases for name in case.mean}
        self.zero = {name for name in data if self.cases and all(case.mean.get(name) == 0 for case in self.cases)}
        self.zero = self.zero if len(self.zero) < len(data) else set()
        self.data = sorted(data, key=lambda name: name in self.zero)
        self.done = state.ending is not None and state.ending.state == "done"
        self.waiting = "" if self.cases else waiting
        under_way = [now for each in state.now.values() if (now := read(PartNow, each)).restriction]
        if not self.done and under_way:
            doing = (f"{clean(now.restriction, limit=40)}: draw {number(now.draws)} of {number(now.draws_total)}" for now in under_way)
            self.waiting = f"sampling {', '.join(doing)}"

    async def draw_plots(self) -> None:
        heatmap = self.query_one(Heatmap)
        self.query_one("#now", Static).update(self._title())
        for name in ("#grid", "#side"):
            self.query_one(name).display = bool(self.cases)
        shown = self.shown
        values = [[self._of(index, shown).get(name) for name in self.data] for index in range(len(self.cases))]
        blank = {at for at, name in enumerate(self.data) if name in self.zero and all(row[at] == 0 for row in values)}
        values = [[None if at in blank else value for at, value in enumerate(row)] for row in values]
        scale = Scale.of(value for row in values for value in row)
        reach = max(scale.high, -scale.low)
        labels = [clean(name, limit=20) for name in self.data]
        parts = [self._part(index) for index in range(len(self.cases))]
        clear = self.result.clear.get(shown, {}) if self.result is not None else {}
        marks = [[clear.get(case.restriction, {}).get(name) is True for name in self.data] for case in self.cases]
        heatmap.show(Grid(parts, labels, values, Scale(-reach, reach), marks=marks))
        if self.done and self.tokens is None and self.folder is not None:
            result = await asyncio.to_thread(self.folder.result)
            first, self.result = self.result is None and result is not None, read(SusceptibilitiesResult, result)
            names = sorted(self.data, key=identifier)
            self.tokens = await asyncio.to_thread(ResponseTokens.read, self.folder.path, names)
            if first:
                self.post_message(self.LookChanged())  # what the run is ranked by is known only now
        await self._draw_tokens()

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self._facts(), flat=not self.has_class("-wide"))

    async def _draw_tokens(self) -> None:
        strip, line = self.query_one(TokenStrip), self.query_one("#row", Static)
        strip.display = self.tokens is not None
        muted = rich_style(self.app.theme_variables.get("muted", ""))
        if self.tokens is None or not self.cases:
            line.update(Text("" if self.done else "tokens: when all parts are done", muted))
            return
        part, data = self._at()
        place = self.tokens.responses.get(data)
        if place is None:
            strip.display = False
            line.update(Text(f"{clean(data, limit=30)} has no tokens here", muted))
            return
        self.row = max(0, min(self.row, place.rows - 1))
        tokens, scale = await asyncio.to_thread(self.tokens.strip, part, data, self.row, self.shown)
        strip.show(tokens, scale)
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        text.append(f"{clean(data, limit=20)} row {self.row + 1}/{place.rows}", muted)
        if tokens:
            token = tokens[min(strip.index, len(tokens) - 1)]
            text.append(f"   token {min(strip.index, len(tokens) - 1)} ", muted)
            text.append(f"“{token.text}”  ")
            text.append(
                number(token.value, 3) if token.value is not None else "predicted from nothing",
                "bold" if token.value is not None else muted,
            )
        line.update(text)

    # -- what is shown

    @property
    def quantities(self) -> list[str]:
        """The tables there are, the one that the run is ranked by first."""
        there = [name for name in QUANTITIES if any(self._of(index, name) for index in range(len(self.cases)))] or ["mean"]
        ranked = self.result.ranked_by if self.result is not None else ""
        first = RANKED.get(ranked, ranked)
        return [first, *(name for name in there if name != first)] if first in there else there

    @property
    def shown(self) -> str:
        quantities = self.quantities
        return quantities[self.quantity % len(quantities)]

    def _of(self, index: int, quantity: str) -> Mapping[str, float | None]:
        """A part's numbers by data set: from its event, else from the result."""
        if index >= len(self.cases):
            return {}
        stored = self.result.means(quantity) if self.result is not None else {}
        return self.cases[index].means(quantity) or stored.get(self._restriction(index), {})

    def _part(self, index: int) -> str:
        return clean(self._restriction(index), limit=60)

    def _at(self) -> tuple[str, str]:
        heatmap = self.query_one(Heatmap)
        return self._part(heatmap.row), self.data[min(heatmap.column, len(self.data) - 1)] if self.data else ""

    def _title(self) -> Text:
        muted = rich_style(self.app.theme_variables.get("muted", ""))
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        if self.cases:
            text.append(f"{self._plain(QUANTITIES[self.shown])}, nats² a token", muted)
            known = [each.seeds for each in self.result.agreement.values() if each.seeds is not None] if self.result is not None else []
            if known:
                text.append(f"   two samplings agree at r = {median(known):.2f} over tokens", muted)
            if self.result is not None and self.result.clear:
                text.append("   * clear of shuffled rows", muted)
        if self.zero:
            text.append(f"   {', '.join(clean(name, limit=20) for name in sorted(self.zero))}: 0 by definition", muted)
        text.append(("   " if self.cases else "") + self.waiting, "" if self.cases else muted)
        return text

    def _facts(self) -> list[Fact]:
        part, data = self._at()
        index = self.query_one(Heatmap).row
        if index >= len(self.cases) or not data:
            return []
        case = self.cases[index]
        shown = self.shown
        value, exact = self._of(index, shown).get(data), self._of(index, "first_order").get(data)
        stored = self.result.errors(shown) if self.result is not None else {}
        error = (case.errors(shown) or stored.get(case.restriction, {})).get(data)
        ascii = self.app.has_class("-ascii")
        estimate = with_error(value, error) if value is not None else "-" if ascii else "—"
        facts = [
            Fact("part", part, loud=True),
            Fact("data", clean(data, limit=30)),
            Fact(self._plain(SIGNS[shown]), estimate.replace("±", "+-") if ascii else estimate, loud=True),
            Fact("weights", number(case.parameters)),
        ]
        if exact is not None and shown != "first_order":
            facts.insert(3, Fact("first order", number(exact, 3)))
        if value is not None and error:
            sigma = abs(value) / error
            facts.append(Fact("clear of 0", f"{sigma:.1f} standard errors", "good" if sigma > 3 else "muted"))
        tops = self._tops(index)
        if tops and self.has_class("-wide"):
            rows = [
                f"{number(top.value, 3):>9}  {clean(top.before, limit=200)[-24:]:>24}[{clean(top.token, limit=20)}]" for top in tops[:8]
            ]
            facts.append(Fact("strongest tokens", "\n".join(rows), alone=True))
        return facts

    def _plain(self, text: str) -> str:
        return spelled(text, ascii=self.app.has_class("-ascii"))

    def _restriction(self, index: int) -> str:
        return self.cases[index].restriction if index < len(self.cases) else ""

    def _tops(self, index: int) -> Sequence[TopToken]:
        """The tokens that a part responds to most; none before the run is done."""
        return self.result.top_tokens.get(self._restriction(index), ()) if self.result is not None else ()

    # -- keys

    @on(Heatmap.Moved)
    def _moved(self) -> None:
        self.top = -1
        self.post_message(self.LookChanged())

    @on(TokenStrip.Moved)
    def _token(self) -> None:
        self.post_message(self.LookChanged())

    @on(Heatmap.Selected)
    def _selected(self) -> None:
        self.action_switch()

    def action_switch(self) -> None:
        strip, heatmap = self.query_one(TokenStrip), self.query_one(Heatmap)
        (strip if heatmap.has_focus and strip.display else heatmap).focus()

    def action_row(self, by: int) -> None:
        self.row = max(0, self.row + by)
        self.query_one(TokenStrip).index = 0
        self.post_message(self.LookChanged())

    def action_quantity(self, by: int) -> None:
        """Show the next of covariance, first order, shift and χ."""
        self.quantity += by
        self.post_message(self.LookChanged())

    def action_strongest(self) -> None:
        """Go to the part's strongest token; again, to the next."""
        tops = self._tops(self.query_one(Heatmap).row)
        if not tops:
            self.notify("Its tokens are there when the run is done.", markup=False)
            return
        at = (self.top + 1) % len(tops)
        top, heatmap = tops[at], self.query_one(Heatmap)
        if top.observable in self.data:
            heatmap.column = self.data.index(top.observable)
            heatmap.refresh()
        self.top, self.row = at, max(0, top.row or 0)
        self.query_one(TokenStrip).index = max(0, top.position or 0)
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return susceptibilities_result.text_of(read(SusceptibilitiesResult, result), colours, ascii=ascii)
