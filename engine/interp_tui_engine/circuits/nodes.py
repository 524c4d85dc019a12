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
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..sites.answers import Answer, Metric, metric_of
from ..sites.branched_run import BranchedRun, Patch, record
from ..sites.hooks import activations
from ..sites.site import Site
from ..sites.site_map import SiteMap
from .methods import Ablation

Node = Site
"""A head, Site('z', layer, head), or an MLP, Site('mlp_out', layer)."""


class Example(NamedTuple):
    """One pair: token ids of equal length and what should follow the clean one."""

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answer: Answer


@dataclass(frozen=True)
class Prepared:
    """One example's clean run, from which ablated runs branch off."""

    example: Example
    fork: BranchedRun
    score: Metric
    clean: dict[Site, Tensor]
    corrupt: dict[Site, Tensor]
    corrupt_stream: Tensor

    @property
    def first(self) -> int:
        """The first position at which the prompts differ: before it, corrupt values are clean ones."""
        return next(i for i, (a, b) in enumerate(zip(self.example.clean, self.example.corrupt, strict=True)) if a != b)


def all_nodes(site_map: SiteMap) -> list[Node]:
    """Every head and MLP, in the order of the forward pass."""
    found: list[Node] = []
    for layer in range(site_map.num_layers):
        found += [Site("z", layer, head) for head in range(site_map.heads("z"))]
        found.append(Site("mlp_out", layer))
    return found


def node_name(node: Node) -> str:
    """'L5H1' or 'L5 MLP'."""
    return f"L{node.layer}H{node.head}" if node.name == "z" else f"L{node.layer} MLP"


@final
class Behaviour:
    """A metric over examples as a function of which nodes are ablated. Each set of nodes is run once."""

    def __init__(self, site_map: SiteMap, examples: Sequence[Example], metric: str, ablation: Ablation) -> None:
        self._begin(site_map, [prepare(site_map, example, metric) for example in examples], ablation)

    def subset(self, examples: Sequence[int]) -> Behaviour:
        """The same behaviour over some of its examples; means of corrupt runs are theirs alone."""
        found = Behaviour.__new__(Behaviour)
        found._begin(self.site_map, [self.runs[index] for index in examples], self.ablation)
        return found

    def _begin(self, site_map: SiteMap, runs: list[Prepared], ablation: Ablation) -> None:
        self.site_map, self.ablation = site_map, ablation
        self.nodes = all_nodes(site_map)
        self.runs = runs
        self._means = _means(self.runs) if ablation == "mean" else {}
        self._known: dict[frozenset[Node], Tensor] = {}
        self.whole = self.value(frozenset())
        self.empty = self.value(frozenset(self.nodes))

    @property
    def prompts(self) -> list[tuple[Hashable, Hashable]]:
        """Both prompts of each example, as token ids."""
        return [(run.example.clean, run.example.corrupt) for run in self.runs]

    def per_example(self, ablated: Collection[Node]) -> Tensor:
        """The metric of each example with these nodes ablated: (examples,)."""
        key = frozenset(ablated)
        if key not in self._known:
            self._known[key] = torch.stack([self._run(run, key) for run in self.runs]).cpu()
        return self._known[key]

    def value(self, ablated: Collection[Node]) -> float:
        """The mean metric with these nodes ablated."""
        return float(self.per_example(ablated).mean())

    def loss(self, node: Node) -> tuple[float, Float[Tensor, " examples"]]:
        """What the metric loses when one node is ablated: on average, and of each example."""
        return self.whole - self.value([node]), self.per_example(()) - self.per_example([node])

    def faithfulness(self, circuit: Collection[Node]) -> float:
        """How much of the behaviour the circuit keeps when all else is ablated."""
        return self.share(self.value(set(self.nodes) - set(circuit)))

    def completeness(self, circuit: Collection[Node]) -> float:
        """How much of the behaviour goes when the circuit is ablated."""
        return 1.0 - self.share(self.value(circuit))

    def minimality(self, circuit: Collection[Node]) -> Iterator[tuple[Node, float]]:
        """Node by node, how much faithfulness the circuit loses without it."""
        kept = self.faithfulness(circuit)
        for node in sorted(circuit, key=self.nodes.index):
            yield node, kept - self.faithfulness(set(circuit) - {node})

    def share(self, value: float) -> float:
        """A value of the metric as a share of the behaviour."""
        return (value - self.empty) / (self.whole - self.empty)

    def ends(self) -> Iterator[tuple[Float[Tensor, " vocab"], Float[Tensor, " vocab"]]]:
        """By example, the next-token logits with nothing and with everything ablated."""
        for run in self.runs:
            yield self._logits(run, frozenset())[0], self._logits(run, frozenset(self.nodes))[0]

    def _run(self, run: Prepared, ablated: frozenset[Node]) -> Tensor:
        return run.score(self._logits(run, ablated))[0].float()

    @torch.no_grad()
    def _logits(self, run: Prepared, ablated: frozenset[Node]) -> Float[Tensor, "1 vocab"]:
        if not ablated:
            return run.fork.logits([run.fork.length - 1])
        job = tuple(Patch(node, self.instead(run, node)) for node in sorted(ablated))
        first = run.first if self.ablation == "interchange" else 0
        return run.fork.run([job], [run.fork.length - 1], first=first)[0]

    def instead(self, run: Prepared, node: Node) -> Tensor:
        """What takes the place of a node's output when it is ablated."""
        value = output_of(run.corrupt, node)
        if self.ablation == "interchange":
            return value
        return torch.zeros_like(value) if self.ablation == "zero" else self._means[node].expand_as(value)


@torch.no_grad()
def prepare(site_map: SiteMap, example: Example, metric: str) -> Prepared:
    """Run both prompts once."""
    device = next(site_map.embed.parameters()).device
    clean, corrupt = (torch.tensor([ids], device=device) for ids in (example.clean, example.corrupt))
    sites = [Site(name, layer) for layer in range(site_map.num_layers) for name in ("z", "mlp_out")]
    start = Site("resid_pre", 0)
    fork = record(site_map, clean)
    score = metric_of(metric, example.answer, fork.logits([len(example.clean) - 1])[0])
    seen = activations(site_map, corrupt, [*sites, start])
    return Prepared(example, fork, score, activations(site_map, clean, sites), seen, seen[start])


def output_of(values: dict[Site, Tensor], node: Node) -> Tensor:
    """A node's output at every position: (pos, head_dim) or (pos, d_model)."""
    value = values[node.whole][0]
    return value if node.head is None else value[:, node.head]


def _means(runs: Sequence[Prepared]) -> dict[Node, Tensor]:
    nodes = all_nodes(runs[0].fork.site_map)
    return {node: torch.cat([output_of(run.corrupt, node) for run in runs]).mean(0) for node in nodes}
