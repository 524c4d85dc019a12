"""Which rows each step sees: pure functions of the seed, the chain and the step, so that resuming needs no loader state.

For the same seed the order is that of devinterp 2.0.1, whose DataLoader draws one number for its workers before it shuffles.
"""

from __future__ import annotations

import random
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import UserError
from .settings import SamplerConfig

OBSERVABLE_SEED = 1337
"""devinterp's seed for the fixed rows of observables."""


@lru_cache(maxsize=64)
def _order(rows: int, seed: int, epoch: int, shuffle: bool) -> Int[Tensor, " rows"]:
    if not shuffle:
        return torch.arange(rows)
    generator = torch.Generator().manual_seed(seed + epoch * 0x9E3779B9)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    return torch.randperm(rows, generator=generator)


class BatchOrder:
    """The micro-batches of a run over `rows` rows; an incomplete last batch of an epoch is dropped."""

    def __init__(self, rows: int, config: SamplerConfig) -> None:
        self._rows = rows
        self._config = config
        self.batches_per_epoch = rows // config.batch_size
        if self.batches_per_epoch == 0:
            what = f"batch_size = {config.batch_size}, but the sampling data has {rows} rows"
            raise UserError(what, "Lower batch_size or give more rows.")
        needed = max(config.num_sgld_steps, config.num_init_loss_batches) * config.gradient_accumulation_steps
        if config.epoch_mode == "once" and self.batches_per_epoch < needed:
            raise UserError(
                f"epoch_mode = 'once' needs {needed} batches of {config.batch_size} rows, the sampling data has {self.batches_per_epoch}",
                f"Use epoch_mode = 'cycle', or give {needed * config.batch_size} rows.",
            )

    def batch(self, index: int, chain: int) -> Int[Tensor, " batch"]:
        """Row numbers of the chain's micro-batch `index`, counted from the start of the run."""
        seed = self._config.init_seed + (0 if self._config.match_sampling_input_ids_across_chains else chain)
        # "cycle" replays the first epoch, so that each row's loss is comparable between epochs.
        within = index % self.batches_per_epoch
        start = within * self._config.batch_size
        return _order(self._rows, seed, 0, self._config.shuffle)[start : start + self._config.batch_size]

    def epoch(self, chain: int) -> Int[Tensor, "batches batch"]:
        """The row numbers of all micro-batches of an epoch: micro-batch i of the run is number i modulo their count."""
        return torch.stack([self.batch(index, chain) for index in range(self.batches_per_epoch)])

    def step(self, step: int, chain: int) -> list[Int[Tensor, " batch"]]:
        """The micro-batches that step `step` averages its gradient over."""
        n = self._config.gradient_accumulation_steps
        return [self.batch(step * n + i, chain) for i in range(n)]

    def init_loss_batches(self) -> list[Int[Tensor, " batch"]]:
        """The batches whose mean loss at w0 every chain is compared with: the first of the order that chain 0 sees."""
        n = self._config.num_init_loss_batches * self._config.gradient_accumulation_steps
        return [self.batch(i, 0) for i in range(n)]


def observable_rows(name: str, rows: int, count: int, seed: int) -> list[int]:
    """The `count` fixed rows of an observable's dataset, evaluated at every draw. Raises UserError for more rows than the dataset has."""
    if count > rows:
        what = f"observable {name!r} needs {count} rows (batch_size × batches per draw), its dataset has {rows}"
        raise UserError(what, "Lower its batches per draw or give more rows.")
    return random.Random(seed).sample(range(rows), count)
