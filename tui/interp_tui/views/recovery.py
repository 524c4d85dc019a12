"""Causal traces: recovery by layer and token, filling as patches are done; one kind of site at a time, down to single heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact
from interp_tui.widgets.heatmap import Grid, Heatmap

from . import recovery_captions as captions
from .grid import GridView
from .recovery_beside import MOST_BESIDE, SideGrid, fitting, heads_text, top_heads
from .recovery_cells import PairGrid, Place, Recovered
from .recovery_result import result_text, strip

TALL = 32
"""Lines of a terminal in which there is room below the grids."""
STRIP = 24
"""Cells of the strip from the corrupt metric to the clean one."""


class RecoveryView(GridView):
    """A heatmap of one kind of site; the cursor's cell is read out beside it, or below it where there is no room."""

    KINDS: ClassVar[tuple[str, ...]] = ("causal_trace",)
    DEFAULT_CSS = """
    RecoveryView #head { height: auto; max-height: 4; margin-bottom: 0; }
    RecoveryView #sites { height: 1; margin-bottom: 1; }
    RecoveryView #rooms { height: 1fr; width: 1fr; }
    RecoveryView #grids { height: 1fr; }
    RecoveryView SideGrid { margin-left: 1; }
    RecoveryView #top-heads { height: auto; margin-top: 1; }
    RecoveryView.-wide #side { width: 46; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "site(1)", "Site", id="recovery.site", tooltip="the next kind of site"),
        Binding("S", "site(-1)", "Site before", show=False, id="recovery.site.before"),
        Binding("enter", "heads", "Heads", show=True, id="recovery.heads", tooltip="the heads of the layer under the cursor, and back"),
        Binding("n", "pair(1)", "Pair", id="recovery.pair", tooltip="the next pair; after the last, their mean"),
        Binding("N", "pair(-1)", "Pair before", show=False, id="recovery.pair.before"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.found = Recovered()
        self.site = 0
        """Index of the kind of site shown; one past the last is all heads of all layers at the cursor's token."""
        self.opened: int | None = None
        """The layer whose heads are shown, or None for all layers."""
        self.pair: int | None = None
        """The pair shown, or None for the mean of all (of the only one)."""
        self.token = 0
        self.placed = False
        self.done = 0.0
        self.waiting = ""
        self.warning = ""
        self._heads: list[tuple[str, str, float]] = []
        self._heads_of: tuple[int, int | None] = (0, None)
        """Of how many cells, and of which pair, the heads that restore most were last taken."""

    def above(self) -> Iterator[Widget]:
        yield from super().above()
        yield Static(id="sites")

    def grids(self) -> ComposeResult:
        with Vertical(id="rooms"):
            with Horizontal(id="grids"):
                yield Heatmap(id="grid")
                for place in range(1, MOST_BESIDE + 1):
                    yield SideGrid(id=f"beside-{place}")
            yield Static(id="top-heads")

    def take(self, state: RunState, waiting: str) -> None:
        fresh = not self.found.pairs
        self.found.read(state.cells)
        self.done = state.done / state.total if state.total else 0.0
        self.waiting = "" if self.found.pairs else waiting
        self.warning = clean(state.warnings[-1], limit=300) if state.warnings else ""
        if fresh and self.found.pairs and not self.found.aligned and self.found.expected > 1:
            self.pair = min(self.found.pairs)

    async def draw_plots(self) -> None:
        """The heatmap costs only what is seen of it."""
        shown = self._shown
        self.query_one("#rooms").display = shown is not None and bool(shown.tokens)
        self.query_one("#head", Static).update(self._head(shown))
        self.query_one("#sites", Static).update(self._sites() if shown is not None else Text(""))
        if shown is None or not shown.tokens:
            return
        if not self.placed:  # the cursor begins where the prompts begin to differ
            self.placed, self.token = True, shown.first
            self._go(0, shown.first)
        rows, columns, places = self._places(shown)
        self._show(rows, columns, places)

    def token_at(self) -> tuple[str, ...]:
        shown = self._shown
        return shown.uttered[: self.token + 1] if shown is not None else ()

    # -- what is shown

    @property
    def _shown(self) -> PairGrid | None:
        pairs = self.found.pairs
        return pairs.get(self.pair) if self.pair is not None else next(iter(pairs.values()), None)

    @property
    def _all_heads(self) -> bool:
        return self.opened is None and self.site == len(self.found.sites)

    def _places(self, shown: PairGrid) -> tuple[list[str], list[str], list[list[Place]]]:
        """Labels of rows and columns, and the place of every cell."""
        layers, heads, positions = range(self.found.layers), range(self.found.heads), range(shown.last + 1)
        tokens, kinds = shown.tokens[: shown.last + 1], len(self.found.sites)
        if self.opened is not None:
            return [f"H{head}" for head in heads], tokens, [[(kinds, self.opened, p, head) for p in positions] for head in heads]
        if self._all_heads:
            names = [f"H{head}" for head in heads]
            return [f"L{layer}" for layer in layers], names, [[(kinds, layer, self.token, head) for head in heads] for layer in layers]
        return [f"L{layer}" for layer in layers], tokens, [[(self.site, layer, p, 0) for p in positions] for layer in layers]

    def _cursor(self, shown: PairGrid) -> Place:
        _, _, places = self._places(shown)
        heatmap = self.query_one(Heatmap)
        row = places[min(heatmap.row, len(places) - 1)]
        return row[min(heatmap.column, len(row) - 1)]

    def _head(self, shown: PairGrid | None) -> Text:
        muted, accent = self.named_styles()
        if shown is None:
            return Text(self.waiting, muted, end="")
        text = captions.prompts(shown, muted, accent, ascii=self.app.has_class("-ascii"))
        if self.warning:
            text.append(f"\nwarning {self.warning}", self.app.theme_variables.get("warn", "").removeprefix("ansi_"))
        return text

    def _sites(self) -> Text:
        """The kinds of site, the one shown marked; and which pair."""
        muted, accent = self.named_styles()
        names = [*self.found.sites, *(["heads"] if self.found.heads else [])]
        note, style = "", accent
        if self.opened is not None:
            note = f"  heads of layer {self.opened}, by token"
        elif self.found.heads and not self._all_heads and self.has_class("-wide"):
            note, style = "   enter: the heads of a layer", muted
        elif self._all_heads and (shown := self._shown) is not None:
            note = f"  heads at ‘{shown.tokens[min(self.token, shown.last)]}’"
        which = f"pair {self.pair + 1} of {self.found.expected}" if self.pair is not None else f"mean of {len(self.found.pairs)} pairs"
        index = self.site if self.opened is None else len(names) - 1
        pairs = which if self.found.expected > 1 else ""
        return captions.sites(names, index, note, style, pairs, muted, accent, ascii=self.app.has_class("-ascii"))

    def facts(self) -> list[Fact]:
        shown = self._shown
        if shown is None or not shown.tokens or not self.found.layers:
            return []
        place = self._cursor(shown)
        _, layer, position, head = place
        value = self.found.value(self.pair, place)
        named = f"L{layer}H{head}" if place[0] == len(self.found.sites) else f"L{layer}"
        facts = [Fact("cursor", f"{named} · {shown.tokens[position]}", "accent")]
        if value is None:
            return [*facts, Fact("recovery", "not patched yet" if self.done < 1 else "not patched", "muted")]
        facts.append(Fact("recovery", f"{value:z.3f}", "good" if value > 0.5 else "bad" if value < -0.1 else "", loud=True))
        if ((patched := shown.patched(value)) is not None and self.pair is not None) or self.found.expected <= 1:
            facts.append(Fact(f"patched {shown.metric}", number(patched, 4)))
            facts.append(Fact("corrupt to clean", strip(value, STRIP, ascii=self.app.has_class("-ascii")), "accent", roomy=True))
        if position < shown.first:
            facts.append(Fact("", "before the corruption: 0", "muted"))
        if best := self._best(shown):
            facts.append(Fact("best here", best, roomy=True))
        return facts

    def _best(self, shown: PairGrid) -> str:
        """The strongest cell of what the heatmap shows."""
        rows, columns, places = self._places(shown)
        found = [
            (value, f"{rows[r]} · {columns[c]}")
            for r, row in enumerate(places)
            for c, place in enumerate(row)
            if (value := self.found.value(self.pair, place)) is not None
        ]
        value, name = max(found, default=(0.0, ""))
        return f"{name}  {value:z.3f}" if name else ""

    # -- keys

    @on(Heatmap.Moved, "#grid")
    def _moved(self, event: Heatmap.Moved) -> None:
        if not self._all_heads:
            self.token = event.column
        self._follow_cursor()

    @on(Heatmap.Selected)
    def _selected(self) -> None:
        self.action_heads()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "pair":
            return self.found.expected > 1
        return not (action == "heads" and not self.found.heads)

    def action_heads(self) -> None:
        """The heads of the cursor's layer; the same again goes back to it."""
        heatmap = self.query_one(Heatmap)
        if self.opened is None:
            self.opened = heatmap.row
            self._go(0, self.token)
        else:
            layer, self.opened = self.opened, None
            self._go(layer, self.token)

    def action_site(self, by: int) -> None:
        count = len(self.found.sites) + bool(self.found.heads)
        if count:
            layer = self.query_one(Heatmap).row if self.opened is None else self.opened
            self.opened, self.site = None, (self.site + by) % count
            self._go(layer, 0 if self._all_heads else self.token)

    def action_pair(self, by: int) -> None:
        choices: list[int | None] = [*([None] if self.found.aligned else []), *sorted(self.found.pairs)]
        if choices:
            at = choices.index(self.pair) if self.pair in choices else 0
            self.pair = choices[(at + by) % len(choices)]
            self.post_message(self.LookChanged())

    def _go(self, row: int, column: int) -> None:
        """Draw the other grid, then put the cursor where it was in this one."""
        shown = self._shown
        if shown is not None:
            self._show(*self._places(shown))
            self.query_one(Heatmap).move_to(row, column)
        self.post_message(self.LookChanged())

    def _show(self, rows: list[str], columns: list[str], places: list[list[Place]]) -> None:
        heatmap = self.query_one(Heatmap)
        beside = self._beside(rows, columns)
        heatmap.corner = self.found.sites[self.site] if beside else "head" if self.opened is not None else "layer"
        heatmap.show(self._grid(rows, columns, places))
        for place in range(1, MOST_BESIDE + 1):
            other = self.query_one(f"#beside-{place}", SideGrid)
            other.display = place <= beside
            if place <= beside:
                site = (self.site + place) % len(self.found.sites)
                other.corner = self.found.sites[site]
                other.set_look(heatmap.look)
                other.show(self._grid(rows, columns, [[(site, *at[1:]) for at in row] for row in places]))
        self._follow_cursor()
        self._show_heads()

    def _grid(self, rows: list[str], columns: list[str], places: list[list[Place]]) -> Grid:
        values = [[self.found.value(self.pair, place) for place in row] for row in places]
        return Grid(rows, columns, values, Scale(-1.0, 1.0), least=3, decimals=2)

    def _beside(self, rows: list[str], columns: list[str]) -> int:
        """How many other sites are shown beside this one: none beside heads."""
        if self.opened is not None or self._all_heads:
            return 0
        label = max(map(len, (*rows, *self.found.sites)))
        return fitting(self.query_one("#rooms").size.width, label, len(columns), len(self.found.sites))

    def _follow_cursor(self) -> None:
        """Put the cursors of the grids beside on the cell under the cursor."""
        heatmap = self.query_one(Heatmap)
        for other in self.query(SideGrid):
            if other.display:
                other.set_look(heatmap.look)
                other.move_to(heatmap.row, heatmap.column)

    def _show_heads(self) -> None:
        """The heads that restore most, under the grids of a tall terminal."""
        shown, below = self._shown, self.query_one("#top-heads", Static)
        state = (self.found.count, self.pair)
        if self._heads_of != state and shown is not None:
            self._heads_of, self._heads = state, top_heads(self.found, shown, self.pair)
        below.display = self.app.size.height >= TALL and bool(self._heads) and self.opened is None
        if below.display:
            below.update(heads_text(self._heads, self.app.theme_variables))

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return result_text(result, colours, ascii=ascii)
