"""The mean loss at w0, per token position, which sampled losses are compared with. Computed once for all chains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import RunFailed
from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.problem import Observable, SamplingTarget, take
from . import checkpoint
from .anchor_loss import FILES, AnchorLoss, batch_sum, fixed_leaves
from .chain import intra_threads
from .executor import Executor
from .microbatch import Microbatch

_FILE = "init_loss.pt"


def initial_loss(
    problem: SamplingTarget,
    order: BatchOrder,
    executor: Executor,
    folder: Path | None,
    pieces: Microbatch,
    anchor: AnchorLoss | None = None,
) -> NDArray[np.float64]:
    """Mean over the first batches of the data order, at the weights before any init_noise: (positions,), nats.

    Batches are shared out over the executor's threads and added in their order, so the sum does not depend on who finished first.
    `anchor` is given the loss of each of them.
    """
    path = None if folder is None else folder / _FILE
    saved = None if path is None else checkpoint.load(path)
    if saved is not None:
        _hand_on(saved.get("batches"), anchor)
        return np.asarray(saved["init_loss"].numpy())
    batches = order.init_loss_batches()
    bound = [problem.bind(fixed_leaves(problem)) for _ in range(executor.workers)]

    def one(index: int) -> NDArray[np.float64]:
        return pieces.run(lambda: batch_sum(problem, bound[index % executor.workers], batches[index], pieces))

    with ThreadPoolExecutor(executor.workers, "init-loss", initializer=torch.set_num_threads, initargs=(executor.intra_threads,)) as pool:
        # One task per bound copy at a time: a module is not shared between threads.
        sums: list[NDArray[np.float64]] = []
        for start in range(0, len(batches), executor.workers):
            sums.extend(pool.map(one, range(start, min(start + executor.workers, len(batches)))))
    rows = sum(int(b.shape[0]) for b in batches)
    mean = np.sum(sums, axis=0) / rows
    if not np.isfinite(mean).all():
        raise RunFailed("the loss at the initial weights is not finite", "Check the model's weights and the data.")
    each = torch.tensor(
        [float(total.mean()) / int(batch.shape[0]) for total, batch in zip(sums, batches, strict=True)], dtype=torch.float64
    )
    if path is not None:
        checkpoint.save(path, {"init_loss": torch.from_numpy(mean), "batches": each})
    _hand_on(each, anchor)
    return np.asarray(mean)


def _hand_on(each: Tensor | None, anchor: AnchorLoss | None) -> None:
    """Batches that were evaluated for the initial loss need no second pass."""
    for index, loss in enumerate([] if each is None or anchor is None else each.tolist()):
        assert anchor is not None
        anchor.know(index, loss)


@torch.no_grad()
def observed_losses(problem: SamplingTarget, pieces: Microbatch) -> dict[str, NDArray[np.float32]]:
    """Losses at w0 of the rows that each observable holds, (rows, positions) in nats, computed batch by batch as at a draw."""
    if not problem.observables:
        return {}
    loss = problem.bind(fixed_leaves(problem))

    def of(observable: Observable) -> NDArray[np.float32]:
        starts = range(0, observable.rows, observable.batch_size)
        parts = [part for start in starts for part in pieces.split(torch.arange(start, start + observable.batch_size))]
        return torch.cat([loss(take(observable.data, slice(int(part[0]), int(part[-1]) + 1))) for part in parts]).cpu().numpy()

    return {observable.name: pieces.run(partial(of, observable)) for observable in problem.observables}


def know_initial_loss(problem: SamplingTarget, config: SamplerConfig, executor: Executor, folder: Path) -> None:
    """Compute ahead of any chain what `share_initial_loss` takes from `folder`: the loss at w0 of the first batches, and of all seen."""
    order, pieces = BatchOrder(problem.rows, config), Microbatch(config.batch_size, lambda message: None)
    anchor = AnchorLoss(problem, config, order, pieces, folder)
    initial_loss(problem, order, executor, folder, pieces, anchor)
    with intra_threads(executor.intra_threads):
        anchor.complete(range(config.num_chains))
    anchor.save()


def share_initial_loss(known: Path, folder: Path) -> None:
    """Let the chains in `folder` take their losses at w0 from those in `known`: the same data at the same weights, restricted or not."""
    for name in [_FILE, *(path.name for path in known.glob(FILES))]:
        source, target = known / name, folder / name
        if source.is_file() and not target.exists() and source != target:
            checkpoint.save(target, checkpoint.load(source) or {})
