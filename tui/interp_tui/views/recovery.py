"""Causal traces: recovery by layer and token, filling as patches are done; one kind of site at a time, down to single heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.facts import Fact, column
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui_engine.payload import read
from interp_tui_engine.results.causal_trace import CausalTraceResult

from .base import scalars
from .grid import GridView
from .reach import reach_facts
from .recovery_cells import PairGrid, Recovered, token_labels

STRIP = 24
"""Cells of the strip from the corrupt metric to the clean one."""


class RecoveryView(GridView):
    """A heatmap of one kind of site; the cursor's cell is read out beside it, or below it where there is no room."""

    KINDS: ClassVar[tuple[str, ...]] = ("causal_trace",)
    DEFAULT_CSS = """
    RecoveryView #head { height: auto; max-height: 4; margin-bottom: 0; }
    RecoveryView #sites { height: 1; margin-bottom: 1; }
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

    def above(self) -> Iterator[Widget]:
        yield from super().above()
        yield Static(id="sites")

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
        heatmap = self.query_one(Heatmap)
        heatmap.display = shown is not None and bool(shown.tokens)
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

    def _places(self, shown: PairGrid) -> tuple[list[str], list[str], list[list[tuple[int, int, int, int]]]]:
        """Labels of rows and columns, and the place of every cell."""
        layers, heads, positions = range(self.found.layers), range(self.found.heads), range(shown.last + 1)
        tokens, kinds = shown.tokens[: shown.last + 1], len(self.found.sites)
        if self.opened is not None:
            return [f"H{head}" for head in heads], tokens, [[(kinds, self.opened, p, head) for p in positions] for head in heads]
        if self._all_heads:
            names = [f"H{head}" for head in heads]
            return [f"L{layer}" for layer in layers], names, [[(kinds, layer, self.token, head) for head in heads] for layer in layers]
        return [f"L{layer}" for layer in layers], tokens, [[(self.site, layer, p, 0) for p in positions] for layer in layers]

    def _cursor(self, shown: PairGrid) -> tuple[int, int, int, int]:
        _, _, places = self._places(shown)
        heatmap = self.query_one(Heatmap)
        row = places[min(heatmap.row, len(places) - 1)]
        return row[min(heatmap.column, len(row) - 1)]

    def _head(self, shown: PairGrid | None) -> Text:
        muted, accent = self.named_styles()
        if shown is None:
            return Text(self.waiting, muted, end="")
        text = Text(end="", overflow="ellipsis", no_wrap=True)
        for label, tokens, answer, value in (
            ("clean  ", shown.tokens, shown.answer, shown.clean_metric),
            ("corrupt", shown.corrupt_tokens, shown.counterfactual, shown.corrupt_metric),
        ):
            text.append("\n" if text.plain else "")
            text.append(f"{label} ", muted)
            for place, token in enumerate(tokens[: shown.last + 1]):
                other = shown.corrupt_tokens[place : place + 1] != shown.tokens[place : place + 1]
                text.append(f"{' ' if place else ''}{token}", f"bold {accent}" if other else "")
            arrow = "->" if self.app.has_class("-ascii") else "→"
            text.append(f" {arrow} {answer or '?'}", muted)
            text.append(f"   {shown.metric} {number(value, 4)}", muted)
        if self.warning:
            text.append(f"\nwarning {self.warning}", self.app.theme_variables.get("warn", "").removeprefix("ansi_"))
        return text

    def _sites(self) -> Text:
        """The kinds of site, the one shown marked; and which pair."""
        muted, accent = self.named_styles()
        names = [*self.found.sites, *(["heads"] if self.found.heads else [])]
        text = Text("site ", muted, end="", overflow="ellipsis", no_wrap=True)
        left, right = ("<", ">") if self.app.has_class("-ascii") else ("‹", "›")
        for index, name in enumerate(names):
            here = index == (self.site if self.opened is None else len(names) - 1)
            text.append(f"{left}{name}{right}" if here else f" {name} ", f"bold {accent}" if here else muted)
        if self.opened is not None:
            text.append(f"  heads of layer {self.opened}, by token", accent)
        elif self.found.heads and not self._all_heads and self.has_class("-wide"):
            text.append("   enter: the heads of a layer", muted)
        elif self._all_heads and (shown := self._shown) is not None:
            text.append(f"  heads at ‘{shown.tokens[min(self.token, shown.last)]}’", accent)
        if self.found.expected > 1:
            which = f"pair {self.pair + 1} of {self.found.expected}" if self.pair is not None else f"mean of {len(self.found.pairs)} pairs"
            text.append(f"   {which}", muted)
        return text

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

    @on(Heatmap.Moved)
    def _moved(self, event: Heatmap.Moved) -> None:
        if not self._all_heads:
            self.token = event.column

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

    def _show(self, rows: list[str], columns: list[str], places: list[list[tuple[int, int, int, int]]]) -> None:
        heatmap = self.query_one(Heatmap)
        heatmap.corner = "head" if self.opened is not None else "layer"
        values = [[self.found.value(self.pair, place) for place in row] for row in places]
        heatmap.show(Grid(rows, columns, values, Scale(-1.0, 1.0), least=3, decimals=2))

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        stored = read(CausalTraceResult, result)
        if not stored.recovery:
            return scalars(result, colours, ascii=ascii)
        facts = [Fact("metric", number(stored.metric)), Fact("clean metric", number(stored.clean_metric))]
        facts += [Fact("corrupt metric", number(stored.corrupt_metric)), Fact("pairs", number(stored.pairs))]
        facts += reach_facts(stored.reach)
        peak = stored.peak
        where = f"{number(peak.site)} of layer {number(peak.layer)} at ‘{''.join(token_labels([peak.token]))}’"
        facts.append(Fact("restores most", f"{where}, recovery {number(peak.recovery, 3)}", "accent"))
        if (held := stored.peak_held_out) is not None:
            facts.append(Fact("on pairs that did not choose it", f"recovery {number(held.recovery, 3)}"))
        for index, head in enumerate(stored.top_heads[:5]):
            said = f"{number(head.head)} at ‘{''.join(token_labels([head.token]))}’  {number(head.recovery, 3)}"
            facts.append(Fact("heads" if not index else " ", said))
        return column(facts, colours)


def strip(recovery: float, width: int, *, ascii: bool) -> str:
    """Where between corrupt (left) and clean (right) a patched run is; beyond the ends it points out of them."""
    line, mark = ("-", "o") if ascii else ("─", "●")
    if recovery < -0.05 or recovery > 1.05:
        out = ("<", ">") if ascii else ("◀", "▶")
        return out[0] + line * (width - 1) if recovery < 0 else line * (width - 1) + out[1]
    at = round(min(max(recovery, 0.0), 1.0) * (width - 1))
    return line * at + mark + line * (width - 1 - at)
