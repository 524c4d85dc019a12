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
from interp_tui_engine.numbers import as_finite as finite

from .base import scalars
from .grid import GridView
from .recovery_cells import token_labels

TUNED = "tuned_"
"""What the names of the tuned lens's numbers begin with."""
SHOWN = (
    ("answer_prob", "probability of the next token"),
    ("top", "likeliest token"),
    ("answer_rank", "rank of the next token"),
    ("entropy", "entropy, nats"),
    ("kl_to_end", "KL to the last layer, nats"),
)


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
        self.rows: dict[int, Mapping[str, Any]] = {}
        self.tokens: list[str] = []
        self.asked: list[str] = []
        self.depth = 0
        self.shown = 0
        self.lens = ""
        self.placed = False
        self.waiting = ""

    def take(self, state: RunState, waiting: str) -> None:
        for batch in state.cells.values():
            layer = batch.get("layer")
            if type(layer) is int and 0 <= layer < 10_000:
                self.rows[layer] = batch
            if "tokens" in batch:
                self.tokens, self.asked = token_labels(batch.get("tokens")), token_labels(batch.get("asked"))
                self.depth = min(10_000, int(finite(batch.get("layers")) or 0))
        self.waiting = "" if self.rows else waiting

    async def draw_plots(self) -> None:
        """The heatmap costs only what is seen of it."""
        heatmap = self.query_one(Heatmap)
        heatmap.display, heatmap.corner = bool(self.tokens), "layer"
        muted, accent = self.named_styles()
        head = Text(self.waiting, muted, end="", no_wrap=True, overflow="ellipsis")
        if self.tokens:
            head.append(SHOWN[self.shown][1], f"bold {accent}")
            lens = ("through the tuned lens, " if self.lens else "through the logit lens, ") if self._has_tuned else ""
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
        cells = self.rows.get(layer, {}).get(f"{self.lens}{name}")
        cell = cells[place] if isinstance(cells, list) and place < len(cells) else None
        if name == "top_prob":
            cell = cell[0] if isinstance(cell, list) and cell else None
        return finite(cell)

    def _top(self, layer: int, place: int) -> list[tuple[str, float | None]]:
        row = self.rows.get(layer, {})
        words, probs = row.get(f"{self.lens}top"), row.get(f"{self.lens}top_prob")
        if not isinstance(words, list) or not isinstance(probs, list) or place >= min(len(words), len(probs)):
            return []
        shares = probs[place] if isinstance(probs[place], list) else []
        return [(word, finite(share)) for word, share in zip(token_labels(words[place]), shares, strict=False)]

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
        return any("tuned_answer_prob" in row for row in self.rows.values())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action == "lens" and not self._has_tuned)

    def action_lens(self) -> None:
        self.lens = "" if self.lens else TUNED
        self.post_message(self.LookChanged())

    def action_quantity(self, by: int) -> None:
        self.shown = (self.shown + by) % len(SHOWN)
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        layers, probs, top = (result.get(key) for key in ("layers", "answer_prob", "top_token"))
        if not isinstance(layers, list) or not isinstance(probs, list) or not isinstance(top, list):
            return scalars(result, colours, ascii=ascii)
        answer = "".join(token_labels([result.get("answer", "")]))
        facts = [Fact("answer", answer, "accent"), Fact("likeliest from layer", number(result.get("crossover_layer")))]
        tuned = result.get("tuned")
        beside = tuned.get("answer_prob") if isinstance(tuned, Mapping) else None
        if isinstance(tuned, Mapping):
            facts.append(Fact("by the tuned lens", number(tuned.get("crossover_layer"))))
        for place, (layer, prob, word) in enumerate(zip(layers, probs, token_labels(top), strict=False)):
            other = finite(beside[place]) if isinstance(beside, list) and place < len(beside) else None
            said = f"   tuned {number(other, 3):>8}" if isinstance(beside, list) else ""
            facts.append(Fact(f"L{number(layer)}", f"{number(finite(prob), 3):>8}{said}  {word}"))
        return column(facts, colours)
