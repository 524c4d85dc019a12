"""ACDC over edges (Conmy et al. 2023, arXiv 2304.14997): from the logits back to the embedding, cut each edge that the behaviour can spare.

An edge is cut if faithfulness changes by less than `threshold` without it; one that works against the behaviour stays. Receivers whose node
nobody listens to any more are cut off without being tried.

Many are tried at once, see `lookahead`.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from .edges import EdgeBehaviour
from .graph import Edge, Mask
from .lookahead import batch_of
from .trial import Trial, trial


@final
class EdgeSearch:
    """The edges in the order in which they are tried; `try_next` and `decide` in turn, once for each.

    candidates: the edges that may stay; all others are cut from the start.
    """

    def __init__(self, edges: EdgeBehaviour, candidates: Mask, threshold: float) -> None:
        self.edges, self.graph, self.threshold = edges, edges.graph, threshold
        self.kept = candidates & self.graph.valid
        self._outside = self.graph.valid & ~self.kept
        self._starts_whole = not bool(self._outside.any())
        pairs = sorted(self.kept.nonzero().tolist(), key=lambda pair: (-self._stage(pair[0]), -pair[0], -pair[1]))
        self.order = [Edge(self.graph.senders[s], self.graph.receivers[r]) for r, s in pairs]
        self._pairs = pairs
        self._blocks = _blocks([self._stage(r) for r, _ in pairs], edges.rows)
        self.stayed: list[bool] = []
        self.now = edges.per_example((self.graph.valid & ~self.kept)[None])[0]
        self.start = edges.share(float(self.now.mean()))
        self._trials: dict[int, Tensor] = {}
        self._live: tuple[int, set[int]] = (-1, set())

    @property
    def blocks(self) -> list[range]:
        """The edges that are tried together, by their places in the order."""
        return [range(low, high) for low, high in dict.fromkeys(self._blocks)]

    @property
    def faithfulness(self) -> float:
        """Of the edges that are left so far."""
        return self.edges.share(float(self.now.mean()))

    def try_next(self) -> Trial | None:
        """What cutting the next edge does; None for an edge that nobody listens to."""
        at = len(self.stayed)
        receiver, _ = self._pairs[at]
        if receiver not in self._listening(at):
            return None
        if at not in self._trials:
            self._run_block(at)
        after = self._trials[at]
        return trial(self.now, after, self.edges.share)

    def decide(self, tried: Trial | None) -> bool:
        """Cut the edge that was tried, or keep it; whether it stays."""
        stays = tried is not None and abs(tried.loss) >= self.threshold
        receiver, sender = self._pairs[len(self.stayed)]
        if stays:
            self._trials.clear()
        else:
            self.kept[receiver, sender] = False
            if tried is not None:
                self.now = tried.after
        self.stayed.append(stays)
        return stays

    def _stage(self, receiver: int) -> int:
        """Receivers of one stage tell each other nothing: a layer's projections, its MLP (with them where blocks are parallel)."""
        layer, slot = divmod(receiver, self.graph.layer_readers + 1)
        if layer == self.graph.site_map.num_layers or self.graph.site_map.blocks[layer].parallel:
            return 2 * layer
        return 2 * layer + (slot == self.graph.layer_readers)

    def _listening(self, at: int) -> set[int]:
        """Receivers of the stage that somebody still listens to."""
        stage = self._stage(self._pairs[at][0])
        if self._live[0] != stage:
            heard = self.kept.any(0)
            live = (self.graph.owned & heard).any(1)
            live[-1] = True
            self._live = (stage, set(live.nonzero()[:, 0].tolist()))
        return self._live[1]

    def _run_block(self, at: int) -> None:
        """Try the batch that this edge belongs to, whether or not some of it is decided already."""
        begin, high = batch_of(at, *self._blocks[at], self.stayed, self.edges.rows)
        live = [i for i in range(begin, high) if self._pairs[i][0] in self._listening(at)]
        cut = self.graph.valid & ~self.kept
        for receiver, sender in self._pairs[begin:at]:
            cut[receiver, sender] = False
        cuts = []
        for index in live:
            cut = cut.clone()
            cut[self._pairs[index][0], self._pairs[index][1]] = True
            cuts.append(cut)
        layer = min(self._pairs[at][0] // (self.graph.layer_readers + 1), self.graph.site_map.num_layers)
        values = self.edges.per_example(torch.stack(cuts), None if self._starts_whole else self._outside, layer)
        self._trials = dict(zip(live, values, strict=True))


def _blocks(stages: list[int], size: int) -> list[tuple[int, int]]:
    """For each edge, the ends of the block it is tried with: at most `size` edges, all of one stage."""
    blocks: list[tuple[int, int]] = []
    low = 0
    for index in range(1, len(stages) + 1):
        if index == len(stages) or stages[index] != stages[low] or index - low == size:
            blocks += [(low, index)] * (index - low)
            low = index
    return blocks


def without_orphans(edges: EdgeBehaviour, kept: Mask) -> Mask:
    """The edges without those of senders that themselves hear nothing: under interchange these say what they say when ablated."""
    kept = kept.clone()
    graph = edges.graph
    while edges.interchange:
        hears = (graph.owned & kept.any(1, keepdim=True)).any(0)
        hears[0] = True
        fewer = kept & hears
        if torch.equal(fewer, kept):
            break
        kept = fewer
    return kept
