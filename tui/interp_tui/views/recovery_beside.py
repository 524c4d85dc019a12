"""Beside and below the grid of a causal trace, where there is room: the other sites' grids, and the heads that restore most."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual import events

from interp_tui.text.numbers import number
from interp_tui.widgets.facts import rich_style
from interp_tui.widgets.heatmap import Heatmap

from .recovery_cells import PairGrid, Recovered

MOST_BESIDE = 4
CELL, FRAME = 6, 3
"""Columns that a token takes at least in a grid that has others beside it, and columns around the tokens but for their labels."""
TOP_HEADS = 5


class SideGrid(Heatmap, can_focus=False):
    """A grid beside the one that takes keys, with the cursor on the same cell."""

    def on_click(self, event: events.Click) -> None:
        event.prevent_default()


def fitting(width: int, label: int, tokens: int, sites: int) -> int:
    """How many other sites' grids have room beside the one shown, in a width of so many columns."""
    return max(0, min(sites - 1, MOST_BESIDE, width // (label + FRAME + CELL * tokens) - 1))


def top_heads(found: Recovered, shown: PairGrid, pair: int | None) -> list[tuple[str, str, float]]:
    """The heads that restore most wherever they are patched: name, token and recovery, the highest first."""
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for place in shown.cells:
        kind, layer, position, head = place
        if kind != len(found.sites) or position >= len(shown.tokens):
            continue
        value = found.value(pair, place)
        if value is not None and value > best.get((layer, head), (0.0, 0))[0]:
            best[layer, head] = value, position
    ranked = sorted(best.items(), key=lambda item: -item[1][0])[:TOP_HEADS]
    return [(f"L{layer}H{head}", shown.tokens[position], value) for (layer, head), (value, position) in ranked]


def heads_text(heads: list[tuple[str, str, float]], colours: Mapping[str, str]) -> Text:
    """A line a head, under a heading."""
    text = Text(end="").append("top heads", rich_style(colours.get("muted", "")))
    for name, token, value in heads:
        text.append(f"\n  {name:<8}{number(value, 3):>7}", "")
        text.append(f"  at {token}", "")
    return text
