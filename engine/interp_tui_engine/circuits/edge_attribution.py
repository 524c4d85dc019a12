"""Attribution patching of edges: what cutting each edge alone would do, to first order, for all edges from few backward passes.

    loss(s → r) ≈ Σ (output_s − instead_s) · ∂m/∂input_r

where input_r is the stream as r alone reads it. The gradient is that of the clean run (eap: Syed et al. 2023, arXiv 2310.10348), or its
mean along a straight line to the ablated run (Hanna et al. 2024, arXiv 2403.17806): from the corrupt to the clean embeddings (eap_ig), or,
sender after sender, from its ablated to its clean output with all before it as in the clean run (eap_ig_activations; the heads of a layer
go together). Keys and values have one gradient a K/V head. Legend as in `edge_run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.halving import FittingRows
from ..sites.hooks import Edit, eager_attention
from ..sites.site import Site
from .edge_run import EdgeRun
from .edges import EdgeBehaviour
from .graph import EMBED, Graph
from .methods import Estimate
from .prepared import output_of


def edge_attribution(edges: EdgeBehaviour, method: Estimate, *, steps: int) -> Float[Tensor, "receivers senders"]:
    """The estimated loss of the metric when each edge alone is cut, averaged over examples; 0 where there is no edge."""
    attributions = [attribution_of(edges.single(index), method, steps=steps) for index in range(edges.examples)]
    return torch.stack(attributions).mean(0)


class _Path(NamedTuple):
    """Points between ablated and clean, at which gradients are taken, and the senders whose edges they are for."""

    senders: slice
    entry: int
    site: Site | None
    """Where the points are put in block `entry`; None for points that are streams entering it."""
    points: Float[Tensor, "points pos ..."]


def attribution_of(run: EdgeRun, method: Estimate, *, steps: int) -> Float[Tensor, "receivers senders"]:
    """`edge_attribution` of a run of one example."""
    assert len(run.runs) == 1
    shares = torch.ones(1) if method == "eap" else (torch.arange(steps) + 0.5) / steps
    scores = torch.zeros(run.graph.valid.shape)
    for path in _by_sender(run, shares) if method == "eap_ig_activations" else [_of_embeddings(run, shares)]:
        away = run.clean.away[path.senders].flatten(1)
        for receivers, gradient in _gradients(run, path):
            scores[receivers, path.senders] = -(gradient.flatten(1) @ away.T).float().cpu()
    return scores * run.graph.valid


def _of_embeddings(run: EdgeRun, shares: Tensor) -> _Path:
    points = _between(run.runs[0].corrupt_stream[0, run.start :], run.clean.streams[0][0], shares)
    return _Path(slice(None), 0, None, points)


def _by_sender(run: EdgeRun, shares: Tensor) -> Iterator[_Path]:
    graph, start, only_run = run.graph, run.start, run.runs[0]
    yield _Path(slice(0, 1), 0, None, _between(run.instead(only_run, EMBED)[start:], run.clean.streams[0][0], shares))
    for layer in range(graph.site_map.num_layers):
        low = graph.senders_before(layer)
        high = low + graph.layer_senders - 1
        ablated = torch.stack([run.instead(only_run, node)[start:] for node in graph.senders[low:high]], dim=1)
        heads, mlp = Site("z", layer), Site("mlp_out", layer)
        yield _Path(slice(low, high), layer, heads, _between(ablated, only_run.clean[heads][0, start:], shares))
        ablated = run.instead(only_run, mlp)[start:]
        yield _Path(slice(high, high + 1), layer, mlp, _between(ablated, output_of(only_run.clean, mlp)[start:], shares))


def _between(ablated: Tensor, clean: Tensor, shares: Tensor) -> Tensor:
    return ablated + shares.to(clean).view(-1, *[1] * clean.dim()) * (clean - ablated)


def _gradients(run: EdgeRun, path: _Path) -> list[tuple[slice, Float[Tensor, "receivers pos d_model"]]]:
    """By run of receivers, ∂m/∂ what each reads, averaged over the points."""
    graph, points = run.graph, path.points
    per_point = 8 * points.element_size() * run.clean.streams[0][0].numel() * len(graph.receivers)

    def means(some: Tensor) -> list[tuple[int, Tensor]]:
        leaves = _Leaves(graph, path, some)
        hidden = some if path.site is None else run.clean.streams[path.entry].expand(len(some), -1, -1)
        edits = [] if path.site is None else [Edit(path.site, lambda value: some.to(value))]
        with torch.enable_grad(), eager_attention(run.site_map):
            for layer in range(path.entry, graph.site_map.num_layers):
                hidden = run.block(layer, hidden, leaves, edits if layer == path.entry else ())
            hidden = hidden + leaves.add(len(graph.receivers) - 1, 1)[:, 0]
            total = run.runs[0].score(graph.site_map.unembed(hidden[:, -1])).sum()
        gradients = torch.autograd.grad(total, list(leaves.held.values()), allow_unused=True)
        summed = zip(leaves.held.items(), gradients, strict=True)
        return [(low, (torch.zeros_like(leaf) if gradient is None else gradient).sum(0) / len(points)) for (low, leaf), gradient in summed]

    sums: dict[int, Tensor] = {}
    for _, parts in FittingRows(points.device, per_point, len(points)).each(points, means):
        for low, mean in parts:
            sums[low] = sums[low] + mean if low in sums else mean
    return [(slice(low, low + len(value)), value) for low, value in sums.items()]


@final
class _Leaves:
    """Shifts of 0 that ask for a gradient, for every receiver after the senders of a path."""

    def __init__(self, graph: Graph, path: _Path, like: Tensor) -> None:
        self.graph, self.path, self.like = graph, path, like
        self.held: dict[int, Tensor] = {}

    def attention(self, layer: int) -> tuple[Tensor, Tensor, Tensor] | None:
        if self.path.site is not None and layer == self.path.entry:
            return None
        count, rows = self.graph.layer_readers, len(self.like)
        leaf = self.add(self.graph.first_reader(layer), count)
        return torch.arange(rows).repeat_interleave(count), torch.arange(count).repeat(rows), leaf.flatten(0, 1)[:, None]

    def mlp(self, layer: int, z: Tensor | None) -> Tensor | None:
        site = self.path.site
        if site is not None and layer == self.path.entry and (z is None or site.name != "z"):
            return None
        return self.add(self.graph.first_reader(layer) + self.graph.layer_readers, 1)

    def wrote(self, layer: int, z: Tensor, mlp: Tensor) -> None:
        """Nothing follows from what was said."""

    def add(self, low: int, count: int) -> Float[Tensor, "points receivers pos d_model"]:
        """Leaves for `count` receivers from `low` on."""
        shape = (len(self.like), count, self.like.shape[1], self.graph.site_map.d_model)
        self.held[low] = torch.zeros(shape, dtype=self.like.dtype, device=self.like.device, requires_grad=True)
        return self.held[low]
