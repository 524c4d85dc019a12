"""How far a circuit holds beyond the pairs it was found on: its faithfulness on others, beside that of random circuits of its size.

A circuit's faithfulness on the pairs that chose it is optimistic, the more so the fewer they are. Each half of the pairs is therefore
searched by itself and its circuit measured on the other half, pair by pair; the overlap of the two circuits says how far the choice of
parts depends on the pairs. A random circuit has as many heads and as many MLPs, and as many of the edges between them, drawn at random.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .edges import EdgeBehaviour
from .graph import Mask
from .nodes import Behaviour
from .prepared import Node
from .ratio import Floats, Prompts, Ratio, share_of

RANDOM = 20
"""Random circuits: a circuit that beats them all does so by chance in 1 of 21 cases."""


class Random(NamedTuple):
    """Faithfulness of random circuits of a circuit's size."""

    faithfulness: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean faithfulness of the random circuits."""
        return float(np.mean(self.faithfulness))

    def p(self, faithfulness: float) -> float:
        """Share of circuits, with the one at hand, that are at least as faithful."""
        return (1 + sum(value >= faithfulness for value in self.faithfulness)) / (1 + len(self.faithfulness))


class HeldOut(NamedTuple):
    """Faithfulness of either half's circuit on the other half, over all pairs, and how far the two circuits are the same."""

    share: Ratio
    each: tuple[float, float]
    sizes: tuple[int, int]
    overlap: float | None
    """Jaccard: parts in both circuits by parts in either; None where both are empty."""


class Measured(NamedTuple):
    """By example: the metric that a circuit brings back from its empty end, all there is to bring back, and the prompts of both."""

    gain: Floats
    reach: Floats
    prompts: Prompts


def gains(behaviour: Behaviour | EdgeBehaviour, circuit: Collection[Node] | Mask) -> Measured:
    """What the circuit brings back, example by example."""
    if isinstance(behaviour, EdgeBehaviour):
        assert isinstance(circuit, torch.Tensor)
        kept = behaviour.per_example((behaviour.graph.valid & ~circuit)[None])[0]
        whole, empty = behaviour.nodes.per_example(()), behaviour.empties
    else:
        kept = behaviour.per_example(set(behaviour.nodes) - set(circuit))
        whole, empty = behaviour.per_example(()), behaviour.per_example(behaviour.nodes)
    prompts = (behaviour.nodes if isinstance(behaviour, EdgeBehaviour) else behaviour).prompts
    return Measured((kept - empty).double().numpy(), (whole - empty).double().numpy(), prompts)


def held_out(parts: tuple[Collection[Hashable], Collection[Hashable]], measured: Sequence[Measured]) -> HeldOut:
    """From both halves' circuits, as sets of parts, and `gains` of each on the other half."""
    each = [share_of(half.gain, half.reach).value for half in measured]
    gain, reach = (np.concatenate(ends) for ends in ([half.gain for half in measured], [half.reach for half in measured]))
    prompts = [pair for half in measured for pair in half.prompts]
    first, second = set(parts[0]), set(parts[1])
    overlap = len(first & second) / len(first | second) if first | second else None
    return HeldOut(share_of(gain, reach, prompts), (each[0], each[1]), (len(first), len(second)), overlap)


def random_nodes(behaviour: Behaviour, nodes: Collection[Node], seed: int) -> Iterator[float]:
    """Faithfulness of RANDOM random circuits of as many heads and MLPs, in turn."""
    draw = np.random.default_rng(seed)
    circuits = [_drawn(behaviour, nodes, draw) for _ in range(RANDOM)]
    for start in range(0, RANDOM, behaviour.at_once):
        yield from behaviour.faithfulness_of(circuits[start : start + behaviour.at_once])


def random_edges(edges: EdgeBehaviour, nodes: Collection[Node], kept: Mask, seed: int) -> Iterator[float]:
    """The same of as many heads, MLPs and edges; of all edges between the nodes, if there are fewer."""
    draw, graph, cuts = np.random.default_rng(seed), edges.graph, []
    for _ in range(RANDOM):
        between = graph.between(_drawn(edges.nodes, nodes, draw)).flatten().nonzero()[:, 0].numpy()
        chosen = draw.permutation(between)[: int(kept.sum())]
        mask = torch.zeros(graph.valid.numel(), dtype=torch.bool)
        mask[torch.from_numpy(chosen)] = True
        cuts.append(graph.valid & ~mask.view_as(graph.valid))
    for start in range(0, RANDOM, edges.rows):
        yield from map(edges.share, edges.per_example(torch.stack(cuts[start : start + edges.rows])).mean(1).tolist())


def _drawn(behaviour: Behaviour, nodes: Collection[Node], draw: np.random.Generator) -> list[Node]:
    """As many heads and as many MLPs, in the order of the forward pass."""
    chosen: set[Node] = set()
    for name in ("z", "mlp_out"):
        there = [node for node in behaviour.nodes if node.name == name]
        chosen |= {there[i] for i in draw.permutation(len(there))[: sum(node.name == name for node in nodes)]}
    return [node for node in behaviour.nodes if node in chosen]
