"""Attention: an overview of all heads by what they do, and the pattern of one of them with tokens on both axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact, column
from interp_tui.widgets.heatmap import Grid as Cells
from interp_tui.widgets.heatmap import Heatmap
from interp_tui_engine.payload import Grid, read
from interp_tui_engine.results.attention import AttentionCell, AttentionResult

from .base import scalars
from .grid import GridView
from .recovery_cells import as_texts, token_labels

MOST = 1000
"""Heads of a layer, and layers, that are shown."""
SCORES = ("induction", "previous_token", "duplicate_token", "copying")


class AttentionView(GridView):
    """Layer × head by one score; enter opens the head under the cursor, and goes back."""

    KINDS: ClassVar[tuple[str, ...]] = ("attention",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "next(1)", "Score/head", id="attention.next", tooltip="the next score, or the next head's pattern"),
        Binding("S", "next(-1)", "Score or head before", show=False, id="attention.before"),
        Binding("enter", "open", "Open", id="attention.open", tooltip="the head under the cursor, and back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.patterns: dict[int, tuple[Grid, ...]] = {}
        self.tokens: list[str] = []
        self.uttered: tuple[str, ...] = ()
        """The tokens with the space before them, as `tokens` are not."""
        self.listed: list[int] = []
        self.heads = 0
        self.scores: Mapping[str, Grid] = {}
        self.names: dict[str, str] = {}
        self.score = 0
        self.opened: tuple[int, int] | None = None
        """Layer and head whose pattern is shown, or None for the overview."""
        self.waiting = ""

    def take(self, state: RunState, waiting: str) -> None:
        for cell in state.cells_of(AttentionCell).values():
            if cell.layer is not None and cell.pattern:
                self.patterns[cell.layer] = cell.pattern
            if cell.layers:
                self.tokens, self.uttered = token_labels(cell.tokens), as_texts(cell.tokens)
                self.listed = [layer for layer in cell.layers if 0 <= layer < MOST]
            self.heads = max(self.heads, min(MOST, cell.heads or 0))
            if cell.scores:
                self.scores = cell.scores
                self.names = {row.head: clean(row.name, limit=30) for row in cell.named}
        self.waiting = "" if self.tokens else waiting

    async def draw_plots(self) -> None:
        """The heatmap costs only what is seen of it."""
        heatmap = self.query_one(Heatmap)
        heatmap.display = bool(self.tokens)
        self.query_one("#head", Static).update(self._head())
        if not self.tokens:
            return
        if self.opened is None:
            heatmap.corner = "layer"
            layers = range(len(self._score_rows()) or (max(self.listed, default=-1) + 1))
            values = [[self._score(layer, head) for head in range(self.heads)] for layer in layers]
            heatmap.show(Cells([f"L{i}" for i in layers], [f"H{i}" for i in range(self.heads)], values, Scale(0.0, 1.0), decimals=2))
            return
        heatmap.corner = "from"
        count = range(len(self.tokens))
        values = [[self._weight(query, key) for key in count] for query in count]
        heatmap.show(Cells(self.tokens, self.tokens, values, Scale(0.0, 1.0), least=3, decimals=2))

    def _head(self) -> Text:
        muted, accent = self.named_styles()
        text = Text(self.waiting, muted, end="", no_wrap=True, overflow="ellipsis")
        if not self.tokens:
            return text
        if self.opened is not None:
            text.append(f"L{self.opened[0]}H{self.opened[1]}", f"bold {accent}")
            text.append("   attention from the token of each row to that of each column", muted)
        elif self.scores:
            text.append(SCORES[self.score].replace("_", " "), f"bold {accent}")
            text.append(" score by layer and head   enter: a head's pattern", muted)
        else:
            text.append("heads are scored when all layers are read   enter: a head's pattern", muted)
        return text

    def _score_rows(self) -> Grid:
        return self.scores.get(SCORES[self.score], ())

    def _score(self, layer: int, head: int, name: str | None = None) -> float | None:
        rows = self.scores.get(name, ()) if name else self._score_rows()
        return rows[layer][head] if layer < len(rows) and head < len(rows[layer]) else None

    def _weight(self, query: int, key: int) -> float | None:
        assert self.opened is not None
        layer, head = self.opened
        pattern = self.patterns.get(layer, ())
        rows = pattern[head] if head < len(pattern) else ()
        return rows[query][key] if query < len(rows) and key < len(rows[query]) else None

    def token_at(self) -> tuple[str, ...]:
        """That which is looked at, in a head's pattern; over all heads, the last."""
        return self.uttered[: self.query_one(Heatmap).column + 1] if self.opened is not None else self.uttered

    def facts(self) -> list[Fact]:
        heatmap = self.query_one(Heatmap)
        if not self.tokens:
            return []
        layer, head = self.opened or (heatmap.row, heatmap.column)
        facts = [Fact("head", f"L{layer}H{head}", "accent")]
        if name := self.names.get(f"L{layer}H{head}"):
            facts.append(Fact("is a", f"{name} head", "good", loud=True))
        if self.opened is not None:
            query, key = min(heatmap.row, len(self.tokens) - 1), min(heatmap.column, len(self.tokens) - 1)
            if layer not in self.patterns:
                return [*facts, Fact("pattern", "in attention.zarr: too long to show", "muted")]
            weight = self._weight(query, key)
            shown = number(weight, 3) if weight is not None else "a later token"
            arrow = "->" if self.app.has_class("-ascii") else "→"
            facts.append(Fact("weight", f"{shown}   {self.tokens[query]} {arrow} {self.tokens[key]}"))
        for name in SCORES:
            value = self._score(layer, head, name)
            if value is not None:
                facts.append(Fact(name.replace("_", " "), f"{value:.2f}", roomy=self.opened is not None))
        return facts

    @on(Heatmap.Selected)
    def _selected(self) -> None:
        self.run_worker(self.action_open(), exclusive=True)

    async def _go(self, row: int, column: int) -> None:
        await self.draw_plots()
        self.query_one(Heatmap).move_to(row, column)
        self.post_message(self.LookChanged())

    async def action_open(self) -> None:
        """The pattern of the head under the cursor; the same again goes back to it."""
        heatmap = self.query_one(Heatmap)
        if self.opened is not None:
            (row, head), self.opened = self.opened, None
            await self._go(row, head)
        elif self.tokens:
            self.opened = (heatmap.row, heatmap.column)
            await self._go(len(self.tokens) - 1, 0)

    def action_next(self, by: int) -> None:
        if self.opened is None:
            self.score = (self.score + by) % len(SCORES)
        elif self.heads:
            at = self.opened[0] * self.heads + self.opened[1] + by
            last = max(self.listed, default=0) + 1
            self.opened = divmod(at % (last * self.heads), self.heads)
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(AttentionResult, result)
        if not stored.named_heads:
            return scalars(result, colours, ascii=ascii, skip=frozenset({"scores"}))
        facts = [Fact("tokens", number(len(stored.tokens)))]
        for row in stored.named_heads[:200]:
            scores = "  ".join(f"{key.replace('_', ' ')} {number(getattr(row, key), 2)}" for key in SCORES)
            facts.append(Fact(clean(row.head, limit=12), f"{clean(row.name, limit=24)} head   {scores}"))
        return column(facts, colours)
