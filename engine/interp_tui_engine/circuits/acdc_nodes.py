"""ACDC over nodes: from the last layer to the first, a head or MLP goes if faithfulness changes by less than `threshold` without it.

One that works against the behaviour stays. The procedure is that of Conmy et al. (2023, arXiv 2304.14997), with nodes for edges. Many are
tried at once, see `lookahead`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor

from .lookahead import batch_of
from .nodes import Behaviour
from .prepared import Node
from .trial import Trial, trial


@final
class NodeSearch:
    """The nodes in the order in which they are tried; `try_next` and `decide` in turn, once for each."""

    def __init__(self, behaviour: Behaviour, candidates: Sequence[Node], threshold: float) -> None:
        self.behaviour, self.threshold = behaviour, threshold
        self.order = list(candidates)[::-1]
        self.kept = set(candidates)
        self.stayed: list[bool] = []
        self.now = behaviour.per_example(set(behaviour.nodes) - self.kept)
        self._metrics: dict[int, Tensor] = {}
        """Of nodes tried but not decided, the metric without them and without all before them that did not stay."""

    @property
    def faithfulness(self) -> float:
        """Of the nodes that are left so far."""
        return self.behaviour.share(float(self.now.mean()))

    @property
    def nodes(self) -> list[Node]:
        """What is left, in the order of the forward pass."""
        return [node for node in self.behaviour.nodes if node in self.kept]

    def try_next(self) -> Trial:
        """What ablating the next node does."""
        at = len(self.stayed)
        if at not in self._metrics:
            self._run_batch(at)
        return trial(self.now, self._metrics[at], self.behaviour.share)

    def decide(self, tried: Trial) -> bool:
        """Ablate the node that was tried, or keep it; whether it stays."""
        stays = abs(tried.loss) >= self.threshold
        if stays:
            self._metrics.clear()
        else:
            self.kept.discard(self.order[len(self.stayed)])
            self.now = tried.after
        self.stayed.append(stays)
        return stays

    def _run_batch(self, at: int) -> None:
        """Try the batch that this node belongs to, whether or not some of it is decided already."""
        begin, end = batch_of(at, 0, len(self.order), self.stayed, self.behaviour.at_once)
        gone = set(self.behaviour.nodes) - self.kept - set(self.order[begin:at])
        sets = []
        for node in self.order[begin:end]:
            gone = gone | {node}
            sets.append(gone)
        self._metrics = dict(zip(range(begin, end), self.behaviour.per_example_of(sets), strict=True))
