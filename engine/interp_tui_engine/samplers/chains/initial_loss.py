"""The mean loss at w0, per token position, which sampled losses are compared with. Computed once for all chains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import RunFailed
from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.problem import RowLoss, SamplingTarget
from . import checkpoint
from .executor import Executor
from .microbatch import Microbatch

_FILE = "init_loss.pt"


def initial_loss(
    problem: SamplingTarget, order: BatchOrder, executor: Executor, folder: Path | None, pieces: Microbatch
) -> NDArray[np.float64]:
    """Mean over the first batches of the data order, at the weights before any init_noise: (positions,), nats.

    Batches are shared out over the executor's threads and added in their order, so the sum does not depend on who finished first.
    """
    path = None if folder is None else folder / _FILE
    known = None if path is None else checkpoint.load(path)
    if known is not None:
        return np.asarray(known["init_loss"].numpy())
    batches = order.init_loss_batches()
    bound = [problem.bind(_fixed_leaves(problem)) for _ in range(executor.workers)]

    def one(index: int) -> NDArray[np.float64]:
        return pieces.run(lambda: _batch_sum(problem, bound[index % executor.workers], batches[index], pieces))

    with ThreadPoolExecutor(executor.workers, "init-loss", initializer=torch.set_num_threads, initargs=(executor.intra_threads,)) as pool:
        # One task per bound copy at a time: a module is not shared between threads.
        sums: list[NDArray[np.float64]] = []
        for start in range(0, len(batches), executor.workers):
            sums.extend(pool.map(one, range(start, min(start + executor.workers, len(batches)))))
    rows = sum(int(b.shape[0]) for b in batches)
    mean = np.sum(sums, axis=0) / rows
    if not np.isfinite(mean).all():
        raise RunFailed("the loss at the initial weights is not finite", "Check the model's weights and the data.")
    if path is not None:
        checkpoint.save(path, {"init_loss": torch.from_numpy(mean)})
    return np.asarray(mean)


def know_initial_loss(problem: SamplingTarget, config: SamplerConfig, executor: Executor, folder: Path) -> None:
    """Compute the initial loss ahead of any chain, for `share_initial_loss` to take from `folder`."""
    initial_loss(problem, BatchOrder(problem.rows, config), executor, folder, Microbatch(config.batch_size, lambda message: None))


def share_initial_loss(known: Path, folder: Path) -> None:
    """Let the chains in `folder` take their initial loss from those in `known`: the same data at the same weights, restricted or not."""
    source, target = known / _FILE, folder / _FILE
    if source.is_file() and not target.exists() and source != target:
        checkpoint.save(target, checkpoint.load(source) or {})


def _fixed_leaves(problem: SamplingTarget) -> dict[str, Tensor]:
    anchors = problem.space.anchors()
    return {name: nn.Parameter(values.to(problem.space.dtype), requires_grad=False) for name, values in anchors.items()}


@torch.no_grad()
def _batch_sum(problem: SamplingTarget, loss: RowLoss, rows: Tensor, pieces: Microbatch) -> NDArray[np.float64]:
    parts = [loss(problem.batch(part)).double().sum(0).cpu() for part in pieces.split(rows)]
    return np.asarray(torch.stack(parts).sum(0).numpy())
