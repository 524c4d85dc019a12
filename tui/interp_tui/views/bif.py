"""Influence: chains while they are sampled; then the matrix between sequences, its strongest pairs, either text beside the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number, with_error
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import rich_style
from interp_tui.widgets.filter_line import FilterLine
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui.widgets.token_strip import TokenStrip
from interp_tui_engine.payload import read
from interp_tui_engine.results.bif import BIFResult

from . import bif_result
from .base import QuietTable, RunView
from .bif_matrix import Influences
from .sampling import SamplingView

COLUMNS = (
    Column("influence", 16, right=True),
    Column("sequence", 10, grow=1, most=18),
    Column("with", 10, grow=1, most=18),
    Column("text", 20, grow=6),
)
LISTED = 500


NOTHING = read(BIFResult, {})
"""The result of a run that has none yet."""


class BifView(RunView):
    """The cursor's pair is read out below: the sequence of its row at the left, that of its column at the right."""

    KINDS: ClassVar[tuple[str, ...]] = ("bif",)
    DEFAULT_CSS = """
    BifView { padding: 0; }
    BifView > SamplingView { height: 1fr; }
    BifView #influence { height: 1fr; padding: 0 1; display: none; }
    BifView #said { height: 1; }
    BifView Heatmap, BifView #list { height: 1fr; min-height: 4; }
    BifView #list { display: none; }
    BifView #pair { height: 1; margin-top: 1; }
    BifView #texts { height: auto; max-height: 45%; layout: horizontal; }
    BifView .text { width: 1fr; height: auto; padding: 0 1 0 0; }
    BifView .text Static { height: 1; }
    BifView TokenStrip { max-height: 8; }
    BifView.-ready #influence { display: block; }
    BifView.-ready > SamplingView { display: none; }
    BifView.-listing Heatmap { display: none; }
    BifView.-listing #list { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "show('matrix')", "Matrix", id="bif.matrix"),
        Binding("b", "show('pairs')", "Top pairs", id="bif.pairs"),
        Binding("i", "show('row')", "Influences", id="bif.row", tooltip="what moves with the sequence under the cursor"),
        Binding("s", "tokens", "Tokens", id="bif.tokens", tooltip="to the tokens at the left, then at the right, and back"),
        Binding("slash", "search", "Search", key_display="/", id="bif.search", tooltip="find a sequence by its words"),
        Binding("n", "next(1)", "Next found", show=False, id="bif.next"),
        Binding("N", "next(-1)", "Found before", show=False, id="bif.before"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.found: Influences | None = None
        self.result = NOTHING
        self.mode = "matrix"
        self.words = ""
        self.hits: list[int] = []
        self.done = False
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield SamplingView()
        with Container(id="influence"):
            yield FilterLine("words of a sequence, or its name")
            yield Static(id="said")
            yield Heatmap(corner="sequence", id="matrix")
            yield QuietTable(COLUMNS, id="list")
            yield Static(id="pair")
            with Container(id="texts"):
                for side in ("left", "right"):
                    with Vertical(classes="text"):
                        yield Static(id=f"{side}-name")
                        yield TokenStrip(cursor=False, id=side)

    def on_focus(self) -> None:
        self._focus()

    def _focus(self) -> None:
        if not self.has_class("-ready"):
            self.query_one(SamplingView).focus()
        else:
            (self.query_one(Heatmap) if self.mode == "matrix" else self.query_one("#list", ListTable)).focus()

    def take(self, state: RunState, waiting: str) -> None:
        self.done = state.ending is not None and state.ending.state == "done"
        self.waiting = waiting
        self.query_one(SamplingView).take(state, waiting)

    async def draw_plots(self) -> None:
        if self.done and self.found is None and self.folder is not None:
            result = await asyncio.to_thread(self.folder.result)
            self.result = read(BIFResult, result)
            self.found = await asyncio.to_thread(Influences.read, self.folder.path, self.result)
            if self.found is not None:
                had_focus = self.query_one(SamplingView).has_focus or self.has_focus
                self.add_class("-ready")
                self._first_pair()
                if had_focus:
                    self._focus()
        if self.found is None:
            await self.query_one(SamplingView).draw_plots()
            return
        await self._draw_pair(self.found)

    def draw_tables(self) -> None:
        if self.found is None:
            self.query_one(SamplingView).draw_tables()
            return
        influences = self.found
        numbers = [str(row) for row in range(len(influences.labels))]
        self.query_one(Heatmap).show(Grid(influences.labels, numbers, influences.values, influences.scale, marks=influences.clear))
        self.query_one("#said", Static).update(self._title(influences))
        if self.mode != "matrix":
            self.query_one("#list", ListTable).set_rows(self._rows(influences))

    def _first_pair(self) -> None:
        """The cursor begins on the strongest pair: a diagonal says nothing."""
        assert self.found is not None
        pairs = self.found.pairs(self.result)
        self.draw_tables()
        if pairs:
            self.query_one(Heatmap).move_to(*pairs[0])

    def token_at(self) -> tuple[str, ...]:
        """The marked one of the sequence that has the keys, else the last of that at the left."""
        left, right = self.query_one("#left", TokenStrip), self.query_one("#right", TokenStrip)
        if self.found is None:
            return ()
        strip = next((strip for strip in (left, right) if strip.has_focus), None)
        tokens = left.tokens if strip is None else strip.tokens[: strip.index + 1]
        return tuple(token.uttered for token in tokens)

    # -- what is shown

    @property
    def pair(self) -> tuple[int, int]:
        """The sequences read out."""
        heatmap = self.query_one(Heatmap)
        return heatmap.row, heatmap.column

    async def _draw_pair(self, influences: Influences) -> None:
        row_1, row_2 = self.pair
        for side, row, other in (("left", row_1, row_2), ("right", row_2, row_1)):
            tokens, scale = await asyncio.to_thread(influences.strip, row, other)
            self.query_one(f"#{side}", TokenStrip).show(tokens, scale)
            label = influences.labels[row] if row < len(influences.labels) else ""
            self.query_one(f"#{side}-name", Static).update(Text(label, rich_style(self.app.theme_variables.get("accent", "")), end=""))
        value = influences.values[row_1][row_2] if row_1 < len(influences.values) else None
        muted = rich_style(self.app.theme_variables.get("muted", ""))
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        text.append(f"influence ({'covariance, nats²' if self.result.covariance else 'correlation'})  ", muted)
        error, clear, exact = influences.certainty(row_1, row_2)
        text.append(self._said(value, error) if value is not None else "null: one of them never varies", "bold")
        if row_1 != row_2 and clear is not None:
            text.append("   clear of the floor *" if clear else "   within the floor", "" if clear else muted)
        if row_1 != row_2 and exact is not None:
            text.append(f"   first order {number(exact, 3)}", muted)
        if row_1 == row_2:
            text.append("   a sequence with itself", muted)
        if influences.by_token:
            text.append("   tokens: their mean influence on the other's", muted)
        self.query_one("#pair", Static).update(text)

    def _said(self, value: float, error: float | None) -> str:
        text = with_error(value, error)
        return text.replace("±", "+-") if self.app.has_class("-ascii") else text

    def _title(self, influences: Influences) -> Text:
        muted = rich_style(self.app.theme_variables.get("muted", ""))
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        at = influences.labels[self.pair[0]] if influences.labels else ""
        names = {
            "matrix": f"influence between {len(influences.labels)} sequences",
            "pairs": "strongest pairs",
            "row": f"what moves with {at}",
        }
        text.append(names[self.mode], muted)
        if (floor := self.result.floor) is not None:
            text.append(f"   {number(floor.clear_pairs)} of {number(floor.pairs)} pairs clear of the floor *", muted)
        if self.result.no_error:
            text.append(f"   no error bar: {clean(self.result.no_error, limit=60)}", muted)
        if self.words:
            text.append(
                f"   {len(self.hits)} found for “{clean(self.words, limit=30)}”",
                "" if self.hits else rich_style(self.app.theme_variables.get("warn", "")),
            )
        if self.result.constant_count:
            text.append(f"   {self.result.constant_count} losses never vary", muted)
        return text

    def _rows(self, influences: Influences) -> list[Row]:
        if self.mode == "row":
            row = self.pair[0]
            listed = [(row, other) for other in influences.others(row)[:LISTED]]
        else:
            listed = influences.pairs(self.result)
        rows = []
        for row, second in listed:
            value = influences.values[row][second]
            error, clear, _ = influences.certainty(row, second)
            colour = "muted" if value is None or clear is False else "heat-positive" if value > 0 else "heat-negative"
            cell = number(value, 3) if value is None else self._said(value, error) + (" *" if clear else "")
            cells = (
                Cell(cell, colour),
                Cell(influences.labels[row]),
                Cell(influences.labels[second]),
                Cell(influences.text(second)[:200], "muted"),
            )
            rows.append(Row(f"{row},{second}", cells))
        return rows

    # -- keys

    @on(Heatmap.Moved)
    def _moved(self) -> None:
        self.post_message(self.LookChanged())

    @on(Heatmap.Selected)
    def _selected(self) -> None:
        self.action_show("row")

    @on(ListTable.Highlighted, "#list")
    def _chosen(self, event: ListTable.Highlighted) -> None:
        if event.key is not None and self.mode != "matrix":
            row_1, _, row_2 = event.key.partition(",")
            self.query_one(Heatmap).move_to(int(row_1), int(row_2))

    def action_show(self, mode: str) -> None:
        """The matrix, the strongest pairs, or all that moves with one sequence; asked for again, back to the matrix."""
        if self.found is None:
            return
        self.mode = mode if mode != self.mode else "matrix"
        self.set_class(self.mode != "matrix", "-listing")
        self._focus()
        self.post_message(self.LookChanged())

    def action_tokens(self) -> None:
        """Give the keys to the left sequence's tokens, then to the right one's, then back."""
        left, right = self.query_one("#left", TokenStrip), self.query_one("#right", TokenStrip)
        if left.has_focus:
            right.focus()
        elif right.has_focus or self.found is None:
            self._focus()
        else:
            left.focus()

    def action_search(self) -> None:
        if self.found is not None:
            self.query_one(FilterLine).start()

    @on(FilterLine.Changed)
    def _typed(self, event: FilterLine.Changed) -> None:
        event.stop()
        self.words = event.text.strip()
        self.hits = self.found.matching(self.words) if self.found is not None and self.words else []
        if self.hits:
            self.query_one(Heatmap).move_to(
                self.hits[0], self.found.others(self.hits[0])[0] if self.found and len(self.found.labels) > 1 else 0
            )
        self.post_message(self.LookChanged())

    @on(FilterLine.Done)
    def _typed_out(self, event: FilterLine.Done) -> None:
        event.stop()
        if self.hits:
            self.mode = "matrix"
            self.action_show("row")
        if event.still:
            self._focus()

    def action_next(self, by: int) -> None:
        """The next sequence that was found, and what moves with it."""
        if not self.hits or self.found is None:
            return
        row = self.pair[0]
        at = self.hits.index(row) + by if row in self.hits else 0
        row = self.hits[at % len(self.hits)]
        self.query_one(Heatmap).move_to(row, next(iter(self.found.others(row)), row))
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return bif_result.text_of(read(BIFResult, result), colours)
