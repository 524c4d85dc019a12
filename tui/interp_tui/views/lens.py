"""The logit lens, and a tuned one beside it: what each layer would say next after each token, how surely, how far from the end it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact, column
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui_engine.payload import Row, read
from interp_tui_engine.results.logit_lens import LensCell, LensReading, LogitLensResult

from .base import scalars
from .grid import GridView
from .recovery_cells import as_texts, token_labels

MOST_LAYERS = 10_000
SHOWN = (
    ("answer_prob", "probability of the next token"),
    ("top", "likeliest token"),
    ("answer_rank", "rank of the next token"),
    ("entropy", "entropy, nats"),
    ("kl_to_end", "KL to the last layer, nats"),
)
UNREAD = read(LensCell, {})


class LensView(GridView):
    """A heatmap layer × token; the cursor's cell lists its likeliest tokens."""

    KINDS: ClassVar[tuple[str, ...]] = ("logit_lens",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "quantity(1)", "Show", id="lens.quantity", tooltip="probability, likeliest token, rank, entropy or KL"),
        Binding("S", "quantity(-1)", "Show before", show=False, id="lens.quantity.before"),
        Binding("l", "lens", "Lens", id="lens.lens", tooltip="read through the logit lens, or the tuned lens"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, LensCell] = {}
        self.tokens: list[str] = []
        self.asked: list[str] = []
        self.depth = 0
        self.shown = 0
        self.tuned = False
        self.uttered: tuple[str, ...] = ()
        """The tokens with the space before them, as `tokens` are not."""
        self.placed = False
        self.waiting = ""

    def take(self, state: RunState, waiting: str) -> None:
        for cell in state.cells_of(LensCell).values():
            if cell.layer is not None and 0 <= cell.layer < MOST_LAYERS:
                self.rows[cell.layer] = cell
            if cell.tokens:
                self.tokens, self.asked = token_labels(cell.tokens), token_labels(cell.asked)
                self.uttered = as_texts(cell.tokens)
                self.depth = min(MOST_LAYERS, cell.layers or 0)
        self.waiting = "" if self.rows else waiting

    async def draw_plots(self) -> None:
        """The heatmap costs only what is seen of it."""
        heatmap = self.query_one(Heatmap)
        heatmap.display, heatmap.corner = bool(self.tokens), "layer"
        muted, accent = self.named_styles()
        head = Text(self.waiting, muted, end="", no_wrap=True, overflow="ellipsis")
        if self.tokens:
            head.append(SHOWN[self.shown][1], f"bold {accent}")
            lens = ("through the tuned lens, " if self.tuned else "through the logit lens, ") if self._has_tuned else ""
            head.append(f" {lens}by layer and token", muted)
        self.query_one("#head", Static).update(head)
        if not self.tokens:
            return
        name = SHOWN[self.shown][0]
        columns = [*self.tokens]
        key = "top_prob" if name == "top" else name
        values = [[self._value(layer, place, key) for place in range(len(columns))] for layer in range(self.depth)]
        flat = [value for row in values for value in row if value is not None]
        texts = [[self._top(layer, place)[:1] for place in range(len(columns))] for layer in range(self.depth)] if name == "top" else None
        words = [["".join(t[0] for t in cell) for cell in row] for row in texts] if texts else None
        high = 1.0 if "prob" in key else max(flat, default=1.0)
        scale = Scale(0.0, high)
        decimals = 0 if name == "answer_rank" else 2
        grid = Grid([f"L{layer}" for layer in range(self.depth)], columns, values, scale, least=4, decimals=decimals, texts=words)
        heatmap.show(grid)
        if not self.placed:
            self.placed = True
            heatmap.move_to(0, len(columns) - 1)

    def _value(self, layer: int, place: int, name: str) -> float | None:
        reading = self._reading(layer)
        if name == "top_prob":
            return next(iter(reading.top_prob[place]), None) if place < len(reading.top_prob) else None
        row: Row = getattr(reading, name)
        return row[place] if place < len(row) else None

    def _reading(self, layer: int) -> LensReading:
        return self.rows.get(layer, UNREAD).reading(tuned=self.tuned)

    def _top(self, layer: int, place: int) -> list[tuple[str, float | None]]:
        reading = self._reading(layer)
        if place >= min(len(reading.top), len(reading.top_prob)):
            return []
        return [*zip(token_labels(reading.top[place]), reading.top_prob[place], strict=False)]

    def token_at(self) -> tuple[str, ...]:
        return self.uttered[: self.query_one(Heatmap).column + 1]

    def facts(self) -> list[Fact]:
        heatmap = self.query_one(Heatmap)
        if not self.tokens or heatmap.column >= len(self.tokens):
            return []
        layer, place = heatmap.row, heatmap.column
        asked = self.asked[place] if place < len(self.asked) else "?"
        facts = [Fact("cursor", f"L{layer} · after ‘{self.tokens[place]}’", "accent")]
        if layer not in self.rows:
            return [*facts, Fact("", "not read yet", "muted")]
        prob, place_of = self._value(layer, place, "answer_prob"), self._value(layer, place, "answer_rank")
        facts.append(Fact(f"P({asked})", number(prob, 3), "good" if place_of == 0 else "", loud=True))
        facts.append(Fact("rank", number(None if place_of is None else int(place_of))))
        facts.append(Fact("entropy", f"{number(self._value(layer, place, 'entropy'), 3)} nats", roomy=True))
        facts.append(Fact("KL to the end", f"{number(self._value(layer, place, 'kl_to_end'), 3)} nats", roomy=True))
        for index, (word, share) in enumerate(self._top(layer, place)):
            facts.append(Fact("likeliest" if not index else " ", f"{number(share, 3):>7}  {word}", roomy=index > 0))
        return facts

    @property
    def _has_tuned(self) -> bool:
        return any(row.tuned_answer_prob for row in self.rows.values())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action == "lens" and not self._has_tuned)

    def action_lens(self) -> None:
        self.tuned = not self.tuned
        self.post_message(self.LookChanged())

    def action_quantity(self, by: int) -> None:
        self.shown = (self.shown + by) % len(SHOWN)
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(LogitLensResult, result)
        if not stored.layers or not stored.answer_prob:
            return scalars(result, colours, ascii=ascii)
        answer = "".join(token_labels([stored.answer]))
        facts = [Fact("answer", answer, "accent"), Fact("likeliest from layer", number(stored.crossover_layer))]
        beside: Row | None = None if stored.tuned is None else stored.tuned.answer_prob
        if stored.tuned is not None:
            facts.append(Fact("by the tuned lens", number(stored.tuned.crossover_layer)))
        rows = zip(stored.layers, stored.answer_prob, token_labels(stored.top_token), strict=False)
        for place, (layer, prob, word) in enumerate(rows):
            other = beside[place] if beside is not None and place < len(beside) else None
            tuned = f"   tuned {number(other, 3):>8}" if beside is not None else ""
            facts.append(Fact(f"L{number(layer)}", f"{number(prob, 3):>8}{tuned}  {word}"))
        return column(facts, colours)
