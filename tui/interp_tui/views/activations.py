"""Activations: what is in the store by layer and site, and under it the tokens of one row, coloured by the norm at the site chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact, column
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.token_strip import Token, TokenStrip
from interp_tui_engine.payload import read
from interp_tui_engine.results.activations import ActivationsCell, ActivationsResult, ShownRow

from .base import scalars
from .grid import GridView

MOST_ROWS = 2_000
MOST_SITES = 4_000
LARGEST = 1e150
"""A root mean square whose square still is a number."""


class ActivationsView(GridView):
    """Root mean square by layer and site; enter goes to the tokens and back."""

    KINDS: ClassVar[tuple[str, ...]] = ("activations",)
    DEFAULT_CSS = """
    ActivationsView #row { height: 1; margin-top: 1; }
    ActivationsView TokenStrip { max-height: 8; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "switch", "Tokens", id="activations.switch", tooltip="to the tokens of a row, and back to the heatmap"),
        Binding("n", "row(1)", "Row", id="activations.row", tooltip="the next row of the data"),
        Binding("N", "row(-1)", "Row before", show=False, id="activations.row.before"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[tuple[str, str], str] = {}
        """The site's whole name by its row and column in the heatmap."""
        self.shapes: Mapping[str, tuple[int, ...]] = {}
        self.dtype = self.store = ""
        self.squares: dict[str, list[tuple[float, float]]] = {}
        """Mean squares of the batches read so far, with their numbers of rows."""
        self.texts: dict[int, ShownRow] = {}
        self.row = 0
        self.read = 0
        self._batches: set[int] = set()
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield from super().compose()
        yield Static(id="row")
        yield TokenStrip()

    def take(self, state: RunState, waiting: str) -> None:
        for step in sorted(state.cells):
            if step in self._batches:
                continue
            self._batches.add(step)
            cell = read(ActivationsCell, state.cells[step])
            if cell.sites:
                names = [clean(name, limit=40) for name in cell.sites[:MOST_SITES]]
                self.sites = {place_of(name): name for name in names}
                self.shapes, self.dtype, self.store = cell.shapes, clean(cell.dtype, limit=40), clean(cell.store, limit=40)
            else:
                self._take_batch(cell)
        self.waiting = "" if self.sites else waiting

    def _take_batch(self, cell: ActivationsCell) -> None:
        rows = max(0, cell.rows or 0)
        self.read += rows
        for name, rms in cell.rms.items():
            if rms is not None and abs(rms) < LARGEST:
                self.squares.setdefault(name, []).append((rows, rms * rms))
        for shown in cell.shown:
            if shown.row is not None and len(self.texts) < MOST_ROWS:
                self.texts[shown.row] = shown

    async def draw_plots(self) -> None:
        """The heatmap costs only what is seen of it."""
        heatmap = self.query_one(Heatmap)
        heatmap.display, heatmap.corner = bool(self.sites), "layer"
        self.query_one("#head", Static).update(self._head())
        rows, columns = self._axes
        values = [[self._rms(self.sites.get((row, name), "")) for name in columns] for row in rows]
        high = max((value for line in values for value in line if value is not None), default=1.0)
        heatmap.show(Grid(rows, columns, values, Scale(0.0, high), least=9))
        self._draw_row()

    def _draw_row(self) -> None:
        strip, line = self.query_one(TokenStrip), self.query_one("#row", Static)
        strip.display = line.display = bool(self.texts)
        shown = self._shown
        if shown is None:
            return
        muted, accent = self.named_styles()
        texts = [clean(token, limit=40) for token in shown.tokens]
        values = [*shown.norms.get(self._site, ())]
        values += [None] * (len(texts) - len(values))
        high = max((value for value in values if value is not None), default=1.0)
        tokens = [Token(text or "␣", value, token) for text, value, token in zip(texts, values, shown.tokens, strict=False)]
        strip.show(tokens, Scale(0.0, high))
        text = Text(f"row {self.row + 1} of {len(self.texts)} shown", muted, end="", no_wrap=True, overflow="ellipsis")
        if texts:
            at = min(strip.index, len(texts) - 1)
            text.append(f"   token {at} ", muted)
            text.append(f"“{texts[at]}”", accent)
            text.append(f"   norm {number(values[at], 4)}", "" if values[at] is not None else muted)
        line.update(text)

    # -- what is shown

    @property
    def _axes(self) -> tuple[list[str], list[str]]:
        rows = sorted({row for row, _ in self.sites}, key=lambda row: int(row[1:]) if row[1:].isdigit() else -1)
        return rows, list(dict.fromkeys(name for _, name in self.sites))

    @property
    def _site(self) -> str:
        rows, columns = self._axes
        heatmap = self.query_one(Heatmap)
        return self.sites.get((rows[heatmap.row], columns[heatmap.column]), "") if rows and heatmap.row < len(rows) else ""

    @property
    def _shown(self) -> ShownRow | None:
        rows = sorted(self.texts)
        return self.texts[rows[self.row % len(rows)]] if rows else None

    def _rms(self, name: str) -> float | None:
        parts = self.squares.get(name, [])
        rows = sum(count for count, _ in parts)
        return float((sum(count * square for count, square in parts) / rows) ** 0.5) if rows else None

    def _head(self) -> Text:
        muted, accent = self.named_styles()
        text = Text(self.waiting, muted, end="", no_wrap=True, overflow="ellipsis")
        if self.sites:
            text.append("root mean square", f"bold {accent}")
            text.append(f" of the numbers at each site, over {self.read:,} rows", muted)
        return text

    def facts(self) -> list[Fact]:
        name = self._site
        if not name:
            return [Fact("", "not stored", "muted")] if self.sites else []
        sizes = " × ".join(number(size) for size in self.shapes.get(name, ())) or "—"
        return [
            Fact("site", name, "accent"),
            Fact("rms", number(self._rms(name), 4), loud=True),
            Fact("shape", sizes),
            Fact("type", self.dtype),
            Fact("array", f"{self.store}/{name}", roomy=True),
            Fact("read", f"{self.read:,} rows", roomy=True),
        ]

    # -- keys

    @on(Heatmap.Moved)
    @on(TokenStrip.Moved)
    def _moved(self) -> None:
        self._draw_row()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action in ("switch", "row") and not self.texts)

    def action_switch(self) -> None:
        strip, heatmap = self.query_one(TokenStrip), self.query_one(Heatmap)
        (heatmap if strip.has_focus else strip).focus()

    @on(Heatmap.Selected)
    def _selected(self) -> None:
        if self.texts:
            self.query_one(TokenStrip).focus()

    def action_row(self, by: int) -> None:
        self.row = (self.row + by) % max(1, len(self.texts))
        self._draw_row()

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(ActivationsResult, result)
        if not stored.arrays:
            return scalars(result, colours, ascii=ascii)
        facts = [Fact("rows", number(stored.rows)), Fact("tokens", number(stored.tokens))]
        for index, array in enumerate(stored.arrays[:200]):
            sizes = (" x " if ascii else " × ").join(number(size) for size in array.shape)
            line = f"{clean(array.name, limit=60):<34} {sizes}  {clean(array.dtype, limit=12)}"
            facts.append(Fact("arrays" if not index else " ", line))
        return column(facts, colours)


def place_of(name: str) -> tuple[str, str]:
    """Row and column of a site: 'L2.k.H1' is in row L2 under 'k.H1'; what has no layer stands above them all."""
    head, dot, rest = name.partition(".")
    return (head, rest) if dot and head[:1] == "L" and head[1:].isdigit() else ("in", name)
