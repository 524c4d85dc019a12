"""An attribution graph as a tree: under the criterion the features that move it, under each feature what it is connected to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static, Tree

from interp_tui.runs.runstate import RunState
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui_engine.results.attribution_graph import GraphCase, GraphEdge, GraphNode

from .base import RunView

CRITERION = "criterion"
SIGNS = {"causal_effect": "moves", "coactivation": "fires with", "fingerprint_similarity": "is like", "attribution": "brings about"}


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
        self.nodes: dict[str, GraphCase] = {}
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
        cases = state.cases_of(GraphCase).values()
        self.nodes = {case.node.id: case for case in cases if case.node.id}
        kinds = [edge.type for case in cases for edge in case.edges]
        # an edge between two features stands with both
        pairs = {"fire together": kinds.count("coactivation") // 2, "are alike": kinds.count("fingerprint_similarity") // 2}
        causal = sum(edge.type == "causal_effect" for edge in self._of_criterion)
        self.facts = [Fact("features", str(max(0, len(self.nodes) - 1))), Fact("move the criterion", str(causal), "good" if causal else "")]
        attributed = sum(edge.type == "attribution" and edge.target == name for name, case in self.nodes.items() for edge in case.edges)
        self.facts += [Fact("attributions", str(attributed))] if attributed else []
        self.facts += [Fact(f"pairs that {what}", str(count)) for what, count in pairs.items() if count]
        self.facts = self.facts if self.nodes else []
        self.waiting = "" if self.nodes else clean(state.phase or waiting, limit=100)

    @property
    def _of_criterion(self) -> Sequence[GraphEdge]:
        return self.nodes[CRITERION].edges if CRITERION in self.nodes else ()

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
        label = self.nodes[CRITERION].node.label if CRITERION in self.nodes else None
        tree.root.set_label(Text(clean(label or CRITERION, limit=100), rich_style(colours.get("accent", ""), bold=True)))
        tree.root.expand()
        linked = [(edge, other) for edge in self._of_criterion if (other := other_end(edge, CRITERION)) in self.nodes]
        rest = [name for name in self.nodes if name != CRITERION and name not in {other for _, other in linked}]
        for edge, name in [*linked, *((None, name) for name in rest)]:
            branch = tree.root.add(node_label(self.nodes[name].node, edge, colours), expand=False)
            branch.allow_expand = False
            for below in self.nodes[name].edges:
                end = other_end(below, name)
                if end in self.nodes and end != CRITERION:
                    branch.allow_expand = True
                    branch.add_leaf(node_label(self.nodes[end].node, below, colours))


def other_end(edge: GraphEdge, name: str) -> str:
    """The node at the other end of an edge."""
    return edge.source if edge.target == name else edge.target


def node_label(node: GraphNode, edge: GraphEdge | None, colours: Mapping[str, str]) -> Text:
    """A feature with what connects it to the node above."""
    muted = rich_style(colours.get("muted", ""))
    text = Text(end="")
    if edge is not None:
        weight, exact, estimate = edge.weight, edge.exact, edge.attribution
        sign = SIGNS.get(edge.type, clean(edge.type, limit=20))
        causal, attributed = edge.type == "causal_effect", edge.type == "attribution"
        text.append("     —" if weight is None else f"{weight:+6.2f}", rich_style(colours.get("good" if causal else "foreground", "")))
        interval = edge.confidence_interval
        if interval is not None and interval.low is not None and interval.high is not None:
            text.append(f" [{interval.low:.2f}, {interval.high:.2f}]", muted)
        if attributed:  # the weight is what was measured, where it was
            text.append(" estimated" if exact is None else " exact" if estimate is None else f" exact, estimated {estimate:+.2f}", muted)
        inward = attributed and edge.source == node.id
        text.append(f"  {'moves it' if causal else 'brings it about' if inward else sign}  ", muted)
    text.append(clean(node.feature_id or node.id or "—", limit=50))
    label = clean(node.label or "", limit=70)
    text.append(f"  {label}" if label and label != node.feature_id else "", muted)
    return text
