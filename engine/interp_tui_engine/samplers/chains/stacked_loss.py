"""Losses of several chains in one call, and their gradients: by `torch.func.vmap` of the model, or by a form of it made for stacks."""

from __future__ import annotations

from typing import Protocol, final

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ..target.problem import Batch, SamplingTarget
from ..target.stacked_llama import StackedLlama


class StackedLoss(Protocol):
    """Per-token losses of C chains as functions of their flat vectors, stacked (C, size).

    Batches are prepared (`SamplingTarget.prepared`); with dim = 0 they have an axis over chains before the rows, with None all chains see
    the same rows.
    """

    def losses(self, flat: Float[Tensor, "C size"], batch: Batch) -> Float[Tensor, "C rows positions"]:
        """Losses of rows that all chains see."""

    def gradient(
        self, flat: Float[Tensor, "C size"], into: Float[Tensor, "C size"], batch: Batch, dim: int | None, total: int, first: bool
    ) -> Float[Tensor, "C rows positions"]:
        """Losses, and the gradient of their sum over `total` in place of what `into` holds, or unless it is the first added to that."""


@final
class VmappedLoss:
    """Of anything that torch.func can transform. An operation without a batching rule runs chain by chain, at a launch each."""

    def __init__(self, problem: SamplingTarget) -> None:
        self._problem = problem

    def _leaves(self, flat: Tensor) -> dict[str, Tensor]:
        """The stacked parameters in the precision that the model computes in; the vectors themselves are the float32 masters."""
        return {name: value.to(self._problem.space.dtype) for name, value in self._problem.space.views(flat).items()}

    def losses(self, flat: Tensor, batch: Batch) -> Tensor:
        run = torch.func.vmap(self._problem.functional, in_dims=(0, None))
        losses: Tensor = run(self._leaves(flat), batch)
        return losses

    def gradient(self, flat: Tensor, into: Tensor, batch: Batch, dim: int | None, total: int, first: bool) -> Tensor:
        problem = self._problem

        def objective(leaves: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
            losses = problem.functional(leaves, batch)
            return losses.sum() / total, losses

        gradients, losses = torch.func.vmap(torch.func.grad(objective, has_aux=True), in_dims=(0, dim))(self._leaves(flat), batch)
        if first:
            into.zero_()
        for slot in problem.space.slots:
            into[:, slot.start : slot.stop] += gradients[slot.name].reshape(len(flat), -1)
        detached: Tensor = losses.detach()
        return detached


@final
class OwnLoss:
    """Of a model whose blocks are known, by operations on stacked weights."""

    def __init__(self, model: StackedLlama) -> None:
        self._model = model

    def losses(self, flat: Tensor, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        return self._model.losses(flat, batch)

    def gradient(self, flat: Tensor, into: Tensor, batch: Batch, dim: int | None, total: int, first: bool) -> Tensor:
        assert isinstance(batch, Tensor)
        return self._model.gradient(flat, into, batch, total, 0 if first else 1)


def stacked_loss(problem: SamplingTarget, mode: str) -> StackedLoss:
    """The loss of stacked chains in a mode, 'vmap' or 'stacked'. Raises UserError where the model has no stacked form."""
    if mode != "stacked":
        return VmappedLoss(problem)
    model = getattr(problem, "stacked", None)
    if model is None:
        what = "chains = 'stacked' is for Llamas all of whose weights are sampled, with their own loss"
        raise UserError(what, "Use 'vmap', 'serial' or 'auto'.")
    return OwnLoss(model)
