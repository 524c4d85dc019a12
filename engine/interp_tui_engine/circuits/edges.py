"""What a behaviour is worth when some edges are cut, and what each edge alone carries.

F(K) is the metric, averaged over pairs, with every edge outside K cut; faithfulness, completeness and minimality are those of `nodes`, over
edges. Cutting one edge alone is path patching (Wang et al. 2022; Goldowsky-Dill et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..sites.branched_run import together
from ..sites.site_map import SiteMap
from .edge_run import Base, EdgeRun
from .graph import EMBED, Edge, Graph, Mask, can_be_split, graph_of
from .nodes import Behaviour
from .prepared import Node, Prepared

__all__ = ["EMBED", "Edge", "EdgeBehaviour", "can_be_split", "edge_effects", "edges_between"]
MOST_ROWS = 64
BATCH_BYTES = 512 << 20
"""Bound on what a batch of cut runs holds of its senders."""
LEAST_ROWS = 12
"""Sets of cut edges that run together if examples are to: about as many as a search tries before one stays."""
KEPT_BYTES = 1 << 30
"""Bound on what is kept of all examples' senders between batches; those of the others are computed again each time."""


@final
class EdgeBehaviour:
    """A metric over examples as a function of which edges are cut."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.nodes = behaviour
        self.graph: Graph = graph_of(behaviour.site_map)
        self.interchange = behaviour.ablation == "interchange"
        self.examples = len(behaviour.runs)
        self._embeds = torch.cat([run.corrupt_stream[0] for run in behaviour.runs]).mean(0) if behaviour.ablation == "mean" else None
        self._groups = self._grouped()
        largest = max(self._bytes(group) for group in self._groups)
        self.rows = max(1, min(MOST_ROWS, BATCH_BYTES // largest))
        self._kept: dict[int, EdgeRun] = {}
        self._bases: tuple[Mask, dict[int, Base]] | None = None
        self.none = torch.zeros_like(self.graph.valid)
        self.whole = behaviour.whole
        self.empties = self.per_example(self.graph.valid[None])[0]
        self.empty = float(self.empties.mean())

    @property
    def reach(self) -> float:
        """The behaviour as a whole: what goes when everything is cut."""
        return self.whole - self.empty

    def single(self, index: int) -> EdgeRun:
        """One example by itself."""
        if [index] in self._groups and (kept := self._kept.get(self._groups.index([index]))):
            return kept
        run = self.nodes.runs[index]
        return EdgeRun(self.graph, [run], self._instead, self._first(run))

    def per_example(
        self, cuts: Bool[Tensor, "rows receivers senders"], outside: Mask | None = None, entry: int = 0
    ) -> Float[Tensor, "rows examples"]:
        """The metric of each example under each set of cut edges; `outside` is what all of them cut before block `entry`."""
        metrics = torch.zeros(len(cuts), self.examples)
        spent = 0
        for index, group in enumerate(self._groups):
            spent += 3 * self._bytes(group)  # what senders say, what they would say, and that of a base
            keep = spent <= KEPT_BYTES
            run = self._kept.get(index) or EdgeRun(
                self.graph, [self.nodes.runs[i] for i in group], self._instead, min(self._first(self.nodes.runs[i]) for i in group)
            )
            base = None if outside is None else self._base(index, run, outside, keep)
            if keep:
                self._kept[index] = run
            metrics[:, group] = torch.cat([run.score(cuts[i : i + self.rows], base, entry) for i in range(0, len(cuts), self.rows)])
        return metrics

    def _base(self, index: int, run: EdgeRun, outside: Mask, keep: bool) -> Base:
        if self._bases is None or not torch.equal(self._bases[0], outside):
            self._bases = (outside, {})
        bases = self._bases[1]
        base = bases.get(index) or run.base(outside)
        if keep:
            bases[index] = base
        return base

    def _grouped(self) -> list[list[int]]:
        """Examples that run together: those of one length, as many as leave room for some sets of cut edges."""
        by_length: dict[int, list[int]] = {}
        for index, run in enumerate(self.nodes.runs):
            by_length.setdefault(run.fork.length, []).append(index)
        groups = []
        for indices in by_length.values():
            forks = [self.nodes.runs[index].fork for index in indices]
            bytes_of_one = max(self._bytes([index]) for index in indices)
            size = max(1, BATCH_BYTES // (LEAST_ROWS * bytes_of_one)) if together(forks) is not None else 1
            groups += [indices[i : i + size] for i in range(0, len(indices), size)]
        return groups

    def _bytes(self, group: Sequence[int]) -> int:
        """What all senders of a group say once."""
        runs = [self.nodes.runs[index] for index in group]
        first = min(map(self._first, runs)) if runs[0].fork.can_skip else 0
        return 4 * len(self.graph.senders) * len(group) * (runs[0].fork.length - first) * self.graph.site_map.d_model

    def _first(self, run: Prepared) -> int:
        return run.first if self.interchange else 0

    def share(self, value: float) -> float:
        """A value of the metric as a share of the behaviour."""
        return (value - self.empty) / self.reach

    def faithfulness(self, kept: Mask) -> float:
        """How much of the behaviour is left when all edges but these are cut."""
        return self.share(float(self.per_example((self.graph.valid & ~kept)[None]).mean()))

    def completeness(self, kept: Mask) -> float:
        """How much of the behaviour goes when these edges are cut."""
        return 1.0 - self.share(float(self.per_example(kept[None]).mean()))

    def losses(self, kept: Mask, parts: Sequence[Mask]) -> Iterator[list[float]]:
        """What faithfulness loses when some more of the kept edges are cut, for each such part: in turn, as many as are tried together."""
        outside, faith = self.graph.valid & ~kept, self.faithfulness(kept)
        for start in range(0, len(parts), self.rows):
            cuts = torch.stack([outside | part for part in parts[start : start + self.rows]])
            yield [faith - self.share(value) for value in self.per_example(cuts).mean(1).tolist()]

    def alone(self, edges: Sequence[Edge]) -> list[float]:
        """What the metric loses when each edge alone is cut."""
        return [float(value) for value in self.whole - self._values_alone(edges).mean(1)]

    def losses_alone(self, edges: Sequence[Edge]) -> Float[Tensor, "edges examples"]:
        """What each example's metric loses when each edge alone is cut."""
        return self.nodes.per_example(()) - self._values_alone(edges)

    def _values_alone(self, edges: Sequence[Edge]) -> Float[Tensor, "edges examples"]:
        at = {edge: self._layer(edge) for edge in edges}
        ordered = sorted(range(len(edges)), key=lambda i: -at[edges[i]])
        values = torch.zeros(len(edges), self.examples)
        for start in range(0, len(ordered), self.rows):
            chosen = ordered[start : start + self.rows]
            cuts = torch.stack([self.graph.mask([edges[i]]) for i in chosen])
            values[chosen] = self.per_example(cuts, None, at[edges[chosen[-1]]])
        return values

    def _layer(self, edge: Edge) -> int:
        """The block from which a run with this edge cut differs."""
        return self.graph.site_map.num_layers if edge.receiver is None else edge.receiver.layer or 0

    def _instead(self, run: Prepared, node: Node) -> Tensor:
        if node != EMBED:
            return self.nodes.instead(run, node)
        stream = run.corrupt_stream[0]
        if self.interchange:
            return stream
        return torch.zeros_like(stream) if self._embeds is None else self._embeds.expand_as(stream)


def edges_between(site_map: SiteMap, nodes: Sequence[Node]) -> list[Edge]:
    """Every edge from the embedding or a node to a later node's inputs, or to the logits."""
    graph = graph_of(site_map)
    return graph.edges(graph.between(nodes))


def edge_effects(behaviour: Behaviour, edges: Sequence[Edge]) -> dict[Edge, float]:
    """The loss of the metric when each edge alone carries what it carries in the ablated run, averaged over examples."""
    return dict(zip(edges, EdgeBehaviour(behaviour).alone(edges), strict=True))
