"""What a step costs a GPU in launches, one chain at a time and stacked: found by trying both on one batch.

A small model's step takes as long as its operations take to launch, whatever they compute. Trying tells also whether chains can be stacked
at all: a loss that no transform can reach into, an operation without a batching rule, memory for one chain but not for four.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.parameters import ChainWeights
from ..target.problem import SamplingTarget
from .stacked_loss import stacked_loss


class Launches(NamedTuple):
    """Operations of one gradient, views left out: of one chain; of `width` chains by vmap, None where that does not work; of any number of
    chains in the model's stacked form, None where it has none."""

    serial: int
    vmapped: int | None
    stacked: int | None = None


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def launches_of(problem: SamplingTarget, config: SamplerConfig, width: int) -> Launches:
    """Try a gradient both ways on the first micro-batch. An error of the stacked way is its answer; one of the other is raised."""
    rows = BatchOrder(problem.rows, config).batch(0, 0)

    def serial() -> None:
        weights = ChainWeights(problem.space)
        problem.bind(weights.leaves)(problem.batch(rows)).sum().backward()  # type: ignore[no-untyped-call]

    def together(mode: str, chains: int) -> int | None:
        batch, flat = problem.prepared(problem.batch(rows)), problem.space.anchor().repeat(chains, 1)
        into, total = torch.zeros_like(flat), config.batch_size * problem.positions
        try:
            loss = stacked_loss(problem, mode)
            return _counted(lambda: loss.gradient(flat, into, batch, None, total, first=True))
        except Exception:  # whatever it is, it would come again at the first step
            return None

    return Launches(_counted(serial), together("vmap", width), together("stacked", 1))


def _counted(attempt: Callable[[], object]) -> int:
    with _Counter() as counter:
        attempt()
    count: int = counter.count
    return count
