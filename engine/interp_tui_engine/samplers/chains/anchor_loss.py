"""The loss at w0 of the very batches a run sees, which its sampled losses are compared with.

The loss of text differs from batch to batch by far more (tenths of a nat) than sampling raises it (hundredths), so lambda-hat takes

    nbeta · mean_t [L_B(w_t) - L_B(w0)],   B the batch of step t

whose batch noise cancels, and not the loss of one set of rows less that of another. A batch's loss at w0 is computed when the first chain
comes to it, and kept: batches repeat from chain to chain and from epoch to epoch. It costs one forward pass a distinct batch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ...models.device import widest_float
from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.problem import RowLoss, SamplingTarget
from . import checkpoint
from .microbatch import Microbatch

FILES = "anchor-*.pt"
"""What is known of each order of batches, in a checkpoint folder."""


@final
class AnchorLoss:
    """Mean loss at w0 of each micro-batch, in nats; NaN where no chain has come to it yet. Used by several threads at once.

    A stream is an order of batches: one that all chains share, or one a chain. `folder` keeps what is known, a file a stream.
    """

    def __init__(self, problem: SamplingTarget, config: SamplerConfig, order: BatchOrder, pieces: Microbatch, folder: Path | None) -> None:
        self._problem, self._config, self._order, self._pieces, self._folder = problem, config, order, pieces, folder
        self.wanted = config.baseline == "paired"
        self._shared = config.match_sampling_input_ids_across_chains
        self._accumulated = config.gradient_accumulation_steps
        self.batches = min(order.batches_per_epoch, config.num_sgld_steps * self._accumulated)
        self._loss: Float[NDArray[np.float64], "stream batch"] = np.full((1 if self._shared else config.num_chains, self.batches), np.nan)
        self._claimed: set[tuple[int, int]] = set()
        self._unsaved: set[int] = set()
        self._lock, self._saving = threading.Lock(), threading.Lock()
        self._here = threading.local()
        self._coming: dict[tuple[int, int], Tensor] = {}
        """Losses that a device has been asked for and the host has not waited for."""
        for stream in range(self._loss.shape[0]) if folder is not None else ():
            self._load(stream)

    def know(self, batch: int, loss: float) -> None:
        """Take the loss of a micro-batch of chain 0's order that was computed elsewhere."""
        if self.wanted and batch < self.batches and np.isnan(self._loss[0, batch]):
            self._loss[0, batch] = loss
            self._claimed.add((0, batch))
            self._unsaved.add(0)

    def cover(self, step: int, chain: int) -> None:
        """Make sure that this step's batches are known or being computed by another thread."""
        if not self.wanted:
            return
        stream = 0 if self._shared else chain
        for i in range(self._accumulated):
            index = (step * self._accumulated + i) % self._order.batches_per_epoch
            with self._lock:
                if (stream, index) in self._claimed:
                    continue
                self._claimed.add((stream, index))
            try:
                computed = self._compute(index, chain)
            except BaseException:
                with self._lock:
                    self._claimed.discard((stream, index))
                raise
            if isinstance(computed, float):
                self._loss[stream, index] = computed
            else:
                self._coming[stream, index] = computed
            self._unsaved.add(stream)

    def complete(self, chains: Iterable[int]) -> None:
        """Compute what is still missing of the steps of these chains: what a kill lost between two checkpoints."""
        for chain in chains:
            stream = 0 if self._shared else chain
            self._arrive()
            missing = np.flatnonzero(np.isnan(self._loss[stream]))
            self._claimed.difference_update((stream, int(index)) for index in missing)
            for step in dict.fromkeys(int(index) // self._accumulated for index in missing) if self.wanted else ():
                self.cover(step, chain)

    def of_steps(self, chain: int, start: int, stop: int) -> Float[NDArray[np.float64], " step"]:
        """Loss at w0 of the rows of the steps start … stop - 1 of a chain; NaN where it is not known yet."""
        self._arrive()
        first = np.arange(start, stop)[:, None] * self._accumulated + np.arange(self._accumulated)
        losses: NDArray[np.float64] = self._loss[0 if self._shared else chain, first % self._order.batches_per_epoch].mean(1)
        return losses

    def save(self) -> None:
        """Put on disk what has come since the last time. Before a chain's own checkpoint, so that this one never runs ahead."""
        if self._folder is None:
            return
        with self._saving:
            self._arrive()
            while self._unsaved:
                stream = self._unsaved.pop()
                checkpoint.save(self._file(stream), {"loss": torch.from_numpy(self._loss[stream].copy())})

    def _file(self, stream: int) -> Path:
        assert self._folder is not None
        return self._folder / FILES.replace("*", f"{stream:05d}")

    def _load(self, stream: int) -> None:
        saved = checkpoint.load(self._file(stream)) if self.wanted else None
        if saved is not None and saved["loss"].shape == (self.batches,):
            self._loss[stream] = saved["loss"].numpy()
            self._claimed.update((stream, int(index)) for index in np.flatnonzero(~np.isnan(self._loss[stream])))

    def _arrive(self) -> None:
        """Take in, in one copy, what the device has computed meanwhile."""
        with self._lock:
            coming, self._coming = self._coming, {}
        if coming:
            for key, loss in zip(coming, torch.stack(list(coming.values())).cpu().tolist(), strict=True):
                self._loss[key] = loss

    def _compute(self, index: int, chain: int) -> float | Tensor:
        """The mean loss of a micro-batch: a number on the CPU, elsewhere a tensor that nobody has waited for."""
        loss: RowLoss | None = getattr(self._here, "loss", None)
        if loss is None:
            with self._lock:  # a module is copied by one thread at a time
                loss = self._here.loss = self._problem.bind(fixed_leaves(self._problem))
        rows = self._order.batch(index, chain)
        if self._problem.space.device.type != "cpu":
            return self._pieces.run(lambda: device_sum(self._problem, loss, rows, self._pieces)).mean() / int(rows.shape[0])
        return float(self._pieces.run(lambda: batch_sum(self._problem, loss, rows, self._pieces)).mean()) / int(rows.shape[0])


def fixed_leaves(problem: SamplingTarget) -> dict[str, Tensor]:
    """w0 as leaves that need no gradient. By name, each of its parameter's shape."""
    anchors = problem.space.anchors()
    return {name: nn.Parameter(values.to(problem.space.dtype), requires_grad=False) for name, values in anchors.items()}


@torch.no_grad()
def batch_sum(problem: SamplingTarget, loss: RowLoss, rows: Tensor, pieces: Microbatch) -> Float[NDArray[np.float64], " position"]:
    """Losses summed over these rows, by position. rows: numbers of rows, (b,). In nats."""
    return np.asarray(device_sum(problem, loss, rows, pieces).cpu().numpy(), dtype=np.float64)


@torch.no_grad()
def device_sum(problem: SamplingTarget, loss: RowLoss, rows: Tensor, pieces: Microbatch) -> Float[Tensor, " position"]:
    """The same sum, left where it was computed. In nats."""
    double = widest_float(problem.space.device)
    return torch.stack([loss(problem.batch(part)).to(double).sum(0) for part in pieces.split(rows)]).sum(0)
