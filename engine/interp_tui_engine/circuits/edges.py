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

from ..models.halving import FittingRows, budget, in_halves
from ..sites.branched_run import together
from ..sites.row_memory import device_of
from ..sites.site_map import SiteMap
from .edge_run import Base, EdgeRun
from .graph import EMBED, Edge, Graph, Mask, can_be_split, graph_of
from .nodes import Behaviour
from .prepared import Node, Prepared

__all__ = ["EMBED", "Edge", "EdgeBehaviour", "can_be_split", "edge_effects", "edges_between"]
MOST_ROWS = 64
LEAST_ROWS = 12
"""Sets of cut edges that run together if examples are to: about as many as a search tries before one stays."""
KEPT = 2
"""As many times what a batch holds may be kept of all examples' senders between batches; others' are computed again each time."""


@final
class EdgeBehaviour:
    """A metric over examples as a function of which edges are cut."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.nodes = behaviour
        self.graph: Graph = graph_of(behaviour.site_map)
        self.interchange = behaviour.ablation == "interchange"
        self.examples = len(behaviour.runs)
        self._embeds = torch.cat([run.corrupt_stream[0] for run in behaviour.runs]).mean(0) if behaviour.ablation == "mean" else None
        self._room = budget(device_of(behaviour.site_map))
        self._groups = self._grouped()
        largest = max(self._bytes(group) for group in self._groups)
        self._fitting = FittingRows(device_of(behaviour.site_map), largest, MOST_ROWS)
        self.rows = self._fitting.count
        """Sets of cut edges that run together."""
        self._kept: dict[tuple[int, ...], EdgeRun] = {}
        self._bases: tuple[Mask, dict[tuple[int, ...], Base]] | None = None
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
        if (kept := self._kept.get((index,))) is not None:
            return kept
        run = self.nodes.runs[index]
        return EdgeRun(self.graph, [run], self._instead, self._first(run))

    def per_example(
        self, cuts: Bool[Tensor, "rows receivers senders"], outside: Mask | None = None, entry: int = 0
    ) -> Float[Tensor, "rows examples"]:
        """The metric of each example under each set of cut edges; `outside` is what all of them cut before block `entry`."""
        metrics = torch.zeros(len(cuts), self.examples)
        spent = 0
        groups = []
        for group in self._groups:
            spent += 3 * self._bytes(group)  # what senders say, what they would say, and that of a base
            keep = spent <= KEPT * self._room

            def scores(some: tuple[int, ...], keep: bool = keep) -> Tensor:
                run, base = self._run(some, outside)
                done = torch.cat([scored for _, scored in self._fitting.each(cuts, lambda part: run.score(part, base, entry))])
                if keep:
                    self._keep(some, run, base)
                return done

            for some, done in in_halves(group, scores):
                groups.append(some)
                metrics[:, list(some)] = done
        self._groups = groups  # those for which memory was enough
        return metrics

    def _run(self, group: tuple[int, ...], outside: Mask | None) -> tuple[EdgeRun, Base | None]:
        """Examples that run together, and the run in which they do what all rows do before these differ."""
        runs = [self.nodes.runs[index] for index in group]
        run = self._kept.get(group) or EdgeRun(self.graph, runs, self._instead, min(map(self._first, runs)))
        if outside is None:
            return run, None
        if self._bases is None or not torch.equal(self._bases[0], outside):
            self._bases = (outside, {})
        return run, self._bases[1].get(group) or run.base(outside)

    def _keep(self, group: tuple[int, ...], run: EdgeRun, base: Base | None) -> None:
        self._kept[group] = run
        if base is not None and self._bases is not None:
            self._bases[1][group] = base

    def _grouped(self) -> list[tuple[int, ...]]:
        """Examples that run together: those of one length, as many as leave room for some sets of cut edges."""
        by_length: dict[int, list[int]] = {}
        for index, run in enumerate(self.nodes.runs):
            by_length.setdefault(run.fork.length, []).append(index)
        groups = []
        for indices in by_length.values():
            forks = [self.nodes.runs[index].fork for index in indices]
            bytes_of_one = max(self._bytes([index]) for index in indices)
            size = max(1, self._room // (LEAST_ROWS * bytes_of_one)) if together(forks) is not None else 1
            groups += [tuple(indices[i : i + size]) for i in range(0, len(indices), size)]
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
