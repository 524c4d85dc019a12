"""A circuit as a tree: the logits at its root, under each part what it reads from, by the effect of cutting that edge. Headless.

A circuit is a graph without cycles: a part that several others read from is unrolled once, where its strongest edge leads, and named again
elsewhere without what it reads from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from interp_tui.text.sanitise import clean
from interp_tui_engine.results.circuit import EdgeEffect

ARROW = " → "
ROOT = "logits"
MOST_LINES = 2_000


@dataclass(frozen=True)
class TreeEdge:
    """From a part into another's input: q, k or v of a head (of all heads of a K/V group), or all that an MLP or the logits read."""

    name: str
    sender: str
    receiver: str
    effect: float | None


@dataclass(frozen=True)
class TreeLine:
    """One line of the tree: its branches as text, the part, the input it feeds, and the edge that leads there (None for the root)."""

    branch: str
    part: str
    into: str
    edge: TreeEdge | None
    again: bool = False
    """Whether the part is unrolled on another line."""


def edges_of(rows: Sequence[EdgeEffect]) -> list[TreeEdge]:
    """Edges as a run names them, with their ends; what is no edge is left out."""
    lines = []
    for row in rows:
        name = clean(row.edge, limit=60)
        sender, arrow, receiver = name.partition(ARROW)
        if arrow and sender and receiver:
            lines.append(TreeEdge(name, sender, receiver, row.effect))
    return lines


def readers(receiver: str, parts: Sequence[str], heads_per_kv: int) -> list[tuple[str, str]]:
    """The parts that read by an edge's end, with the input's name: 'L2KV0.v' is read by every head of the group that is there."""
    if receiver == ROOT or receiver in parts:
        return [(receiver, "")]
    place, _, into = receiver.rpartition(".")
    layer, kv, group = place.partition("KV")
    if not kv or not group.isdigit():
        return [(place, into)] if place in parts else []
    heads = [part for part in parts if part.startswith(f"{layer}H") and part[len(layer) + 1 :].isdigit()]
    return [(part, into) for part in heads if int(part[len(layer) + 1 :]) // max(1, heads_per_kv) == int(group)]


def tree(edges: Sequence[TreeEdge], parts: Sequence[str], heads_per_kv: int = 1) -> list[TreeLine]:
    """The tree's lines from the root down, strongest edges first."""
    into: dict[str, list[tuple[TreeEdge, str]]] = defaultdict(list)
    for edge in edges:
        for reader, name in readers(edge.receiver, parts, heads_per_kv):
            into[reader].append((edge, name))
    for incoming in into.values():
        incoming.sort(key=lambda item: -abs(item[0].effect or 0.0))
    lines = [TreeLine("", ROOT, "", None)]
    unrolled: set[str] = set()

    def grow(part: str, stem: str, above: frozenset[str]) -> None:
        unrolled.add(part)
        children = into.get(part, [])
        for index, (edge, name) in enumerate(children):
            if len(lines) >= MOST_LINES:
                return
            last = index == len(children) - 1
            again = edge.sender in unrolled and bool(into.get(edge.sender))
            lines.append(TreeLine(stem + ("└ " if last else "├ "), edge.sender, name, edge, again))
            if not again and edge.sender not in above:
                grow(edge.sender, stem + ("  " if last else "│ "), above | {edge.sender})

    grow(ROOT, "", frozenset({ROOT}))
    return lines
