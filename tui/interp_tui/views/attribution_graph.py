"""An attribution graph as a tree: under the criterion the features that move it, under each feature what it is connected to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static, Tree

from interp_tui.runs.runstate import RunState
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui_engine.numbers import as_finite as finite

from .base import RunView

SIGNS = {"causal_effect": "moves", "coactivation": "fires with", "fingerprint_similarity": "is like", "attribution": "brings about"}
Case = Mapping[str, Any]


class GraphView(RunView):
    """A tree that opens with its first level; enter opens and closes a node."""

    KINDS: ClassVar[tuple[str, ...]] = ("attribution_graph",)
    DEFAULT_CSS = """
    GraphView #summary { height: auto; }
    GraphView Tree:focus { background-tint: transparent; }
    GraphView Tree { height: 1fr; background: $background; padding: 0; scrollbar-size-vertical: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, Case] = {}
        self.facts: list[Fact] = []
        self.waiting = ""
        self._drawn = -1

    def compose(self) -> ComposeResult:
        yield Facts(id="summary")
        yield Tree[None]("")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(Tree).focus()

    def take(self, state: RunState, waiting: str) -> None:
        cases = [state.cases[index] for index in sorted(state.cases)]
        self.nodes = {str(node.get("id")): case for case in cases if isinstance(node := case.get("node"), Mapping)}
        kinds = [edge.get("type") for case in cases for edge in edges_of(case)]
        # an edge between two features stands with both
        pairs = {"fire together": kinds.count("coactivation") // 2, "are alike": kinds.count("fingerprint_similarity") // 2}
        causal = sum(edge.get("type") == "causal_effect" for edge in edges_of(self.nodes.get("criterion", {})))
        self.facts = [Fact("features", str(max(0, len(self.nodes) - 1))), Fact("move the criterion", str(causal), "good" if causal else "")]
        attributed = sum(
            edge.get("type") == "attribution" and edge.get("target") == name for name, case in self.nodes.items() for edge in edges_of(case)
        )
        self.facts += [Fact("attributions", str(attributed))] if attributed else []
        self.facts += [Fact(f"pairs that {what}", str(count)) for what, count in pairs.items() if count]
        self.facts = self.facts if self.nodes else []
        self.waiting = "" if self.nodes else clean(state.phase or waiting, limit=100)

    async def draw_plots(self) -> None:
        """There are none."""

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self.facts, flat=True)
        tree, waiting = self.query_one(Tree), self.query_one("#waiting", Static)
        tree.display, waiting.display = bool(self.nodes), bool(self.waiting)
        waiting.update(Text(self.waiting, end=""))
        if len(self.nodes) == self._drawn:
            return
        self._drawn = len(self.nodes)
        colours = self.app.theme_variables
        tree.clear()
        tree.guide_depth = 3
        root = self.nodes.get("criterion", {})
        tree.root.set_label(
            Text(clean(str(root.get("node", {}).get("label") or "criterion"), limit=100), rich_style(colours.get("accent", ""), bold=True))
        )
        tree.root.expand()
        linked = [(edge, other) for edge in edges_of(root) if (other := other_end(edge, "criterion")) in self.nodes]
        rest = [name for name in self.nodes if name != "criterion" and name not in {other for _, other in linked}]
        for edge, name in [*linked, *((None, name) for name in rest)]:
            branch = tree.root.add(node_label(self.nodes[name], edge, colours), expand=False)
            branch.allow_expand = False
            for below in edges_of(self.nodes[name]):
                end = other_end(below, name)
                if end in self.nodes and end != "criterion":
                    branch.allow_expand = True
                    branch.add_leaf(node_label(self.nodes[end], below, colours))


def edges_of(case: Case) -> list[Case]:
    """A node's edges, those that are none left out."""
    found = case.get("edges")
    return [edge for edge in found if isinstance(edge, Mapping)] if isinstance(found, list) else []


def other_end(edge: Case, name: str) -> str:
    """The node at the other end of an edge."""
    return str(edge.get("source") if edge.get("target") == name else edge.get("target"))


def node_label(case: Case, edge: Case | None, colours: Mapping[str, str]) -> Text:
    """A feature with what connects it to the node above."""
    node = case.get("node")
    node = node if isinstance(node, Mapping) else {}
    muted = rich_style(colours.get("muted", ""))
    text = Text(end="")
    if edge is not None:
        weight = finite(edge.get("weight"))
        sign = SIGNS.get(str(edge.get("type")), clean(str(edge.get("type")), limit=20))
        causal = edge.get("type") == "causal_effect"
        text.append("     —" if weight is None else f"{weight:+6.2f}", rich_style(colours.get("good" if causal else "foreground", "")))
        interval = edge.get("confidence_interval")
        ends = [finite(interval.get(key)) for key in ("low", "high")] if isinstance(interval, Mapping) else []
        if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
            text.append(f" [{ends[0]:.2f}, {ends[1]:.2f}]", muted)
        exact, estimate = finite(edge.get("exact")), finite(edge.get("attribution"))
        if edge.get("type") == "attribution":  # the weight is what was measured, where it was
            text.append(" estimated" if exact is None else " exact" if estimate is None else f" exact, estimated {estimate:+.2f}", muted)
        inward = edge.get("type") == "attribution" and edge.get("source") == node.get("id")
        text.append(f"  {'moves it' if causal else 'brings it about' if inward else sign}  ", muted)
    text.append(clean(str(node.get("feature_id") or node.get("id") or "—"), limit=50))
    label = clean(str(node.get("label") or ""), limit=70)
    text.append(f"  {label}" if label and label != node.get("feature_id") else "", muted)
    return text
