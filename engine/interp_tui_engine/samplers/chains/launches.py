"""What a step costs a GPU in launches, one chain at a time and stacked: found by trying both on one batch.

A small model's step takes as long as its operations take to launch, whatever they compute. Trying tells also whether chains can be stacked
at all: a loss that no transform can reach into, an operation without a batching rule, memory for one chain but not for four.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch.utils._python_dispatch import TorchDispatchMode

from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.parameters import ChainWeights
from ..target.problem import SamplingTarget
from .vmapped import mean_gradient


class Launches(NamedTuple):
    """Operations of one gradient, views left out: of one chain, and of `width` chains together (None where they cannot be stacked)."""

    serial: int
    stacked: int | None


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

    def stacked() -> None:
        batch = problem.prepared(problem.batch(rows))
        leaves = {n: v.to(problem.space.dtype) for n, v in problem.space.views(problem.space.anchor().repeat(width, 1)).items()}
        mean_gradient(problem, leaves, batch, None, config.batch_size * problem.positions)

    alone = _counted(serial)
    try:
        return Launches(alone, _counted(stacked))
    except Exception:  # whatever it is, it would come again at the first step
        return Launches(alone, None)


def _counted(attempt: Callable[[], None]) -> int:
    with _Counter() as counter:
        attempt()
    count: int = counter.count
    return count
