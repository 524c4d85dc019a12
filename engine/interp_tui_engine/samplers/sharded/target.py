"""A language model whose weights lie on several devices, as a thing to sample: `SamplingTarget`, with every loss a collective call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, final

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ...models.sharding import ShardedRows
from ..target.language_model import plain_losses
from ..target.parameters import Masks, named_parameters
from ..target.problem import Batch, Observable, RowLoss, chosen_observable
from ..target.weight_slice import WeightSlice
from .ranks import GatherRows, Ranks
from .space import ShardedSpace, freeze_others


@final
class ShardedTarget:
    """Next-token losses of a module that `models.sharding.shard` has cut up, over token rows `(n, t+1)`.

    Each rank computes its share of a batch's rows, through all layers; FSDP2 brings it the other ranks' part of a layer when that layer is
    due. masks: as of `ModuleTarget`, with the shapes of the whole parameters; slices: those that keep rows or columns (`restricted`).
    """

    custom_loss = False

    def __init__(
        self,
        model: nn.Module,
        token_rows: Int[Tensor, "n t1"],
        observables: Mapping[str, tuple[Int[Tensor, "m t1"], int]],
        batch_size: int,
        ranks: Ranks,
        masks: Masks | None = None,
        obs_seed: int = 1337,
        slices: Mapping[str, WeightSlice] | None = None,
    ) -> None:
        self._model, self._ranks, self._tokens = model.eval(), ranks, token_rows.cpu()
        self.rows, self.positions = int(token_rows.shape[0]), int(token_rows.shape[1]) - 1
        parameters, masks = named_parameters(model, masks)
        self._rows_here = ShardedRows(model, {name: cast("DTensor", parameter) for name, parameter in parameters.items()})
        self.space = ShardedSpace(self._rows_here, masks, ranks, slices)
        freeze_others(model, {slot.name: None for slot in self.space.slots})
        self.computed = sum(p.numel() for p in parameters.values())
        self.observables: tuple[Observable, ...] = tuple(
            chosen_observable(name, *spec, batch_size, obs_seed, self.positions) for name, spec in observables.items()
        )

    def batch(self, rows: Int[Tensor, " b"]) -> Tensor:
        return self._tokens[rows.cpu()]

    def bind(self, leaves: Mapping[str, Tensor]) -> RowLoss:
        def loss(batch: Batch) -> Tensor:
            assert isinstance(batch, Tensor)
            self._compute_with(leaves)
            rows = int(batch.shape[0])
            here = self._ranks.mine(rows)
            mine = batch[here] if here.start < here.stop else batch[:1]  # all ranks go through all layers, or none can
            losses = plain_losses(self._model, mine.to(self.space.device)).float()
            gathered = GatherRows.apply(losses, rows, self._ranks)  # type: ignore[no-untyped-call]
            assert isinstance(gathered, Tensor)
            return gathered

        return loss

    @torch.no_grad()
    def _compute_with(self, leaves: Mapping[str, Tensor]) -> None:
        slices = self.space.slices
        self._rows_here.compute_with({name: leaf for name, leaf in leaves.items() if name not in slices})
        for name, part in slices.items():
            rows = self._rows_here.parameters[name].to_local()
            rows.index_copy_(part.axis, part.index, leaves[name].detach().to(rows.dtype))

    def prepared(self, batch: Batch) -> Batch:
        return batch

    def functional(self, leaves: Mapping[str, Tensor], batch: Batch) -> Tensor:
        raise NotImplementedError("chains of a model on several devices are not stacked")
