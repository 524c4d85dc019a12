"""Heads and MLPs as the nodes of a circuit, and what a behaviour is worth when some of them are ablated.

A node is ablated by putting in place of its output, at every position, that of the corrupt run (interchange), its mean over all corrupt
runs, or zero. F(C) is the metric, averaged over pairs of prompts, with every node outside C ablated; from it (Wang et al. 2022; Mueller et
al. 2025)

    faithfulness  (F(C) − F(∅)) / (F(all) − F(∅))
    completeness  1 − (F(all∖C) − F(∅)) / (F(all) − F(∅))      1 where the rest alone cannot do it
    minimality    min over n in C of |F(C) − F(C∖n)| / |F(all) − F(∅)|
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.halving import FittingRows
from ..sites.branched_run import Patch
from ..sites.row_memory import fitting_rows
from ..sites.site import Site
from ..sites.site_map import SiteMap
from .methods import Ablation
from .prepared import Example, Node, Prepared, Together, grouped, output_of, prepare

MOST_ROWS = 64
"""Ablated runs, one set of nodes on one example each, that pass the model together."""
Row = tuple[int, int]
"""An example and a set of nodes, by their places: one row of a pass."""


def all_nodes(site_map: SiteMap) -> list[Node]:
    """Every head and MLP, in the order of the forward pass."""
    nodes: list[Node] = []
    for layer in range(site_map.num_layers):
        nodes += [Site("z", layer, head) for head in range(site_map.heads("z"))]
        nodes.append(Site("mlp_out", layer))
    return nodes


def node_name(node: Node) -> str:
    """'L5H1' or 'L5 MLP'."""
    return f"L{node.layer}H{node.head}" if node.name == "z" else f"L{node.layer} MLP"


@final
class Behaviour:
    """A metric over examples as a function of which nodes are ablated. Each set of nodes is run once."""

    def __init__(self, site_map: SiteMap, examples: Sequence[Example], metric: str, ablation: Ablation) -> None:
        longest = max(len(example.clean) for example in examples)
        rows = fitting_rows(site_map, longest, MOST_ROWS)
        self._begin(site_map, [prepare(site_map, example, metric) for example in examples], ablation, rows)

    def subset(self, examples: Sequence[int]) -> Behaviour:
        """The same behaviour over some of its examples; means of corrupt runs are theirs alone."""
        part = Behaviour.__new__(Behaviour)
        part._begin(self.site_map, [self.runs[index] for index in examples], self.ablation, self.rows)
        return part

    def _begin(self, site_map: SiteMap, runs: list[Prepared], ablation: Ablation, rows: FittingRows) -> None:
        self.site_map, self.ablation, self.rows = site_map, ablation, rows
        self.nodes = all_nodes(site_map)
        self.runs = runs
        self._means = _means(self.runs) if ablation == "mean" else {}
        self._groups = grouped(runs, self._first, rows.count)
        self._rows = rows.count
        self.at_once = max(1, self._rows // len(runs))
        """Sets of nodes that pass the model together."""
        self._clean = torch.stack([run.score(run.end).float() for run in runs]).cpu()
        self._known: dict[frozenset[Node], Tensor] = {}
        self.whole = self.value(frozenset())
        self.empty = self.value(frozenset(self.nodes))

    @property
    def prompts(self) -> list[tuple[Hashable, Hashable]]:
        """Both prompts of each example, as token ids."""
        return [(run.example.clean, run.example.corrupt) for run in self.runs]

    def per_example(self, ablated: Collection[Node]) -> Float[Tensor, " examples"]:
        """The metric of each example with these nodes ablated. Each set is run once."""
        key = frozenset(ablated)
        if key not in self._known:
            self._known[key] = self.per_example_of([key])[0]
        return self._known[key]

    def per_example_of(self, sets: Sequence[Collection[Node]]) -> Float[Tensor, "sets examples"]:
        """The metric of each example with each of these sets of nodes ablated.

        The last bits depend on which sets pass together, and on nothing else: nothing is taken from or kept for other calls.
        """
        metrics = self._clean.repeat(len(sets), 1)
        ablated = [at for at, nodes in enumerate(sets) if nodes]
        for group in self._groups:
            at_once = max(1, self._rows // len(group.indices))
            for start in range(0, len(ablated), at_once):
                rows = [(index, at) for index in group.indices for at in ablated[start : start + at_once]]
                for some, scores in self.rows.each(rows, lambda some, group=group: self._scores(group, some, sets)):  # type: ignore[misc]
                    indices, places = zip(*some, strict=True)
                    metrics[list(places), list(indices)] = scores
        return metrics

    def value(self, ablated: Collection[Node]) -> float:
        """The mean metric with these nodes ablated."""
        return float(self.per_example(ablated).mean())

    def losses(self, nodes: Sequence[Node]) -> Float[Tensor, "nodes examples"]:
        """What each example's metric loses when each node alone is ablated."""
        return self.per_example(()) - self.per_example_of([[node] for node in nodes])

    def faithfulness(self, circuit: Collection[Node]) -> float:
        """How much of the behaviour the circuit keeps when all else is ablated."""
        return self.share(self.value(set(self.nodes) - set(circuit)))

    def faithfulness_of(self, circuits: Sequence[Collection[Node]]) -> list[float]:
        """`faithfulness` of circuits that pass the model together."""
        values = self.per_example_of([set(self.nodes) - set(circuit) for circuit in circuits])
        return [self.share(float(row.mean())) for row in values]

    def completeness(self, circuit: Collection[Node]) -> float:
        """How much of the behaviour goes when the circuit is ablated."""
        return 1.0 - self.share(self.value(circuit))

    def minimality(self, circuit: Collection[Node]) -> Iterator[tuple[Node, float]]:
        """Node by node, how much faithfulness the circuit loses without it."""
        kept = self.faithfulness(circuit)
        nodes = sorted(circuit, key=self.nodes.index)
        for start in range(0, len(nodes), self.at_once):
            some = nodes[start : start + self.at_once]
            for node, share in zip(some, self.faithfulness_of([set(circuit) - {node} for node in some]), strict=True):
                yield node, kept - share

    def share(self, value: float) -> float:
        """A value of the metric as a share of the behaviour."""
        return (value - self.empty) / (self.whole - self.empty)

    @torch.no_grad()
    def ends(self) -> Iterator[tuple[Float[Tensor, " vocab"], Float[Tensor, " vocab"]]]:
        """By example, the next-token logits with nothing and with everything ablated."""
        for index, run in enumerate(self.runs):
            alone = Together((index,), run.fork, self._first(run))
            yield run.end, self._logits(alone, [(index, 0)], [self.nodes])[0]

    @torch.no_grad()
    def _scores(self, group: Together, rows: Sequence[Row], sets: Sequence[Collection[Node]]) -> Float[Tensor, " rows"]:
        logits, scores, start = self._logits(group, rows, sets), [], 0
        for index, own in groupby(rows, key=itemgetter(0)):
            stop = start + len(list(own))
            scores.append(self.runs[index].score(logits[start:stop]).float())
            start = stop
        return torch.cat(scores).cpu()

    def _logits(self, group: Together, rows: Sequence[Row], sets: Sequence[Collection[Node]]) -> Float[Tensor, "rows vocab"]:
        jobs = [tuple(Patch(node, self.instead(self.runs[index], node)) for node in sorted(sets[at])) for index, at in rows]
        bases = None if len(group.indices) == 1 else [group.indices.index(index) for index, _ in rows]
        return group.fork.run(jobs, [group.fork.length - 1], first=group.first, bases=bases)[:, 0]

    def _first(self, run: Prepared) -> int:
        return run.first if self.ablation == "interchange" else 0

    def instead(self, run: Prepared, node: Node) -> Tensor:
        """What takes the place of a node's output when it is ablated. Of the shape of that output."""
        value = output_of(run.corrupt, node)
        if self.ablation == "interchange":
            return value
        return torch.zeros_like(value) if self.ablation == "zero" else self._means[node].expand_as(value)


def _means(runs: Sequence[Prepared]) -> dict[Node, Tensor]:
    nodes = all_nodes(runs[0].fork.site_map)
    return {node: torch.cat([output_of(run.corrupt, node) for run in runs]).mean(0) for node in nodes}
