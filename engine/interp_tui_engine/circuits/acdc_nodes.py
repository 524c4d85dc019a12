"""ACDC over nodes: from the last layer to the first, a head or MLP goes if faithfulness changes by less than `threshold` without it.

One that works against the behaviour stays. The procedure is that of Conmy et al. (2023, arXiv 2304.14997), with nodes for edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from .nodes import Behaviour, Node
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
        node = self.order[len(self.stayed)]
        after = self.behaviour.per_example(set(self.behaviour.nodes) - self.kept | {node})
        return trial(self.now, after, self.behaviour.share)

    def decide(self, tried: Trial) -> bool:
        """Ablate the node that was tried, or keep it; whether it stays."""
        stays = abs(tried.loss) >= self.threshold
        if not stays:
            self.kept.discard(self.order[len(self.stayed)])
            self.now = tried.after
        self.stayed.append(stays)
        return stays
