"""What a circuit is, and what it is worth."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from .edges import EdgeBehaviour
from .graph import EMBED, Edge, Mask
from .nodes import Behaviour, node_name
from .prepared import Node


@dataclass(frozen=True)
class Circuit:
    """The nodes and edges that a behaviour needs, and how well they account for it."""

    level: Literal["node", "edge"]
    nodes: tuple[Node, ...]
    node_effects: dict[Node, float]
    """Share of the behaviour that the circuit loses without the node."""
    edges: dict[Edge, float]
    """Share of the behaviour that the circuit loses without the edge; none in a circuit of nodes, which keeps all edges between them."""
    faithfulness: float
    completeness: float
    minimality: float
    """The least that the circuit loses without one of its parts."""
    clean_metric: float
    empty_metric: float
    scores: dict[Node, float] = field(default_factory=dict)
    edge_scores: dict[Edge, float] = field(default_factory=dict)
    """What attribution made of the parts, as shares of the behaviour; empty where it was not asked."""
    heads_per_kv: int = 1
    """Heads that share one head of keys and values."""

    def named_nodes(self) -> list[tuple[str, int, float]]:
        """Each node's name, its layer and its effect, in the order of `nodes`."""
        return [(node_name(node), node.layer or 0, self.node_effects[node]) for node in self.nodes]

    def summary(self) -> str:
        """The circuit in a few lines, strongest parts first."""
        heads = sum(node.name == "z" for node in self.nodes)
        edges = f", {len(self.edges)} edges" if self.level == "edge" else ""
        lines = [
            f"Circuit: {heads} attention heads, {len(self.nodes) - heads} MLP layers{edges}",
            f"faithfulness {self.faithfulness:.3f}, completeness {self.completeness:.3f}, minimality {self.minimality:.3f}",
        ]
        strongest = sorted(self.nodes, key=lambda node: -abs(self.node_effects[node]))
        lines += [f"  {node_name(node):<8} {self.node_effects[node]:+.3f}" for node in strongest]
        by_strength = sorted(self.edges, key=lambda edge: -abs(self.edges[edge]))
        lines += [f"  {edge.name:<24} {self.edges[edge]:+.3f}" for edge in by_strength]
        return "\n".join(lines)


Measuring = Generator[tuple[int, int], None, "Circuit"]
"""A circuit being measured: how many of its parts have been left out in turn, and of how many; in the end the circuit."""


def measured(measuring: Measuring) -> Circuit:
    """The circuit, once it is measured."""
    while True:
        try:
            next(measuring)
        except StopIteration as end:
            circuit: Circuit = end.value
            return circuit


def circuit_of_nodes(behaviour: Behaviour, nodes: Sequence[Node], scores: dict[Node, float]) -> Measuring:
    """Measure a circuit that keeps some nodes and everything between them."""
    effects: dict[Node, float] = {}
    for node, effect in behaviour.minimality(nodes):
        effects[node] = effect
        yield len(effects), len(nodes)
    reach = behaviour.whole - behaviour.empty
    return Circuit(
        "node",
        tuple(nodes),
        effects,
        {},
        behaviour.faithfulness(nodes),
        behaviour.completeness(nodes),
        min(map(abs, effects.values()), default=0.0),
        behaviour.whole,
        behaviour.empty,
        scores={node: score / reach for node, score in scores.items()},
        heads_per_kv=_shared(behaviour),
    )


def circuit_of_edges(behaviour: EdgeBehaviour, kept: Mask, scores: Float[Tensor, "receivers senders"] | None) -> Measuring:
    """Measure a circuit that keeps some edges."""
    graph = behaviour.graph
    edges = graph.edges(kept)
    nodes = [node for node in graph.senders if node != EMBED and bool(kept[:, graph.sender_at[node]].any())]
    own = [graph.mask(edge for edge in edges if edge.sender == node) for node in nodes]
    parts = [graph.mask([edge]) for edge in edges] + own
    losses: list[float] = []
    for some in behaviour.losses(kept, parts):
        losses += some
        yield len(losses), len(parts)
    effects = dict(zip(edges, losses, strict=False))
    guesses = {} if scores is None else {e: float(scores[graph.receiver_at[e.receiver], graph.sender_at[e.sender]]) for e in edges}
    return Circuit(
        "edge",
        tuple(nodes),
        dict(zip(nodes, losses[len(edges) :], strict=True)),
        effects,
        behaviour.faithfulness(kept),
        behaviour.completeness(kept),
        min(map(abs, effects.values()), default=0.0),
        behaviour.whole,
        behaviour.empty,
        edge_scores={edge: score / behaviour.reach for edge, score in guesses.items()},
        heads_per_kv=_shared(behaviour.nodes),
    )


def _shared(behaviour: Behaviour) -> int:
    return behaviour.site_map.heads("z") // behaviour.site_map.heads("v")
