"""The gradient of an embedding that is also the unembedding, made in one array.

Autograd would make two arrays as large as the matrix, one per use, and add them, though the look-up's array is zero but for the rows of
the batch: two arrays at once where one is enough, and these are a small model's largest. Here the unembedding's gradient is put by, and the
look-up, which comes last in the backward pass, adds its few rows to it and hands the sum to autograd.
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@final
class TiedGradient:
    """The gradient of one tied matrix, between the unembedding's backward and the look-up's. One a chain: not shared between threads."""

    def __init__(self, weight: nn.Parameter) -> None:
        self._weight = weight
        self._kept: Tensor | None = None
        self._waiting: Tensor | None = None

    def space(self) -> Float[Tensor, "v d"]:
        """An array for the unembedding to write its gradient into, overwriting what is there; the same one each step.

        Memory that is given back and taken anew costs a page fault every 4 KiB. A gradient that autograd still holds is not overwritten.
        """
        if self._weight.grad is not None:
            return torch.empty_like(self._weight)
        if self._kept is None:
            self._kept = torch.empty_like(self._weight)
        return self._kept.detach()  # another tensor over the same memory, which autograd may take as it is

    def put(self, gradient: Float[Tensor, "v d"]) -> None:
        """The unembedding's share."""
        self._waiting = gradient

    def take(self, tokens: Int[Tensor, " n"], gradient: Float[Tensor, "n d"], padding: int | None) -> Float[Tensor, "v d"]:
        """The whole gradient: what was put by, plus the look-up's rows, less those of the padding token, as nn.Embedding has it."""
        assert self._waiting is not None, "the look-up's backward ran before the unembedding's"
        whole, self._waiting = self._waiting, None
        if padding is not None:
            gradient = gradient.masked_fill((tokens == padding)[:, None], 0.0)
        return whole.index_add_(0, tokens, gradient)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, tied: TiedGradient, padding: int | None) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.tied, ctx.padding = tied, padding
        return nn.functional.embedding(tokens, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (tokens,) = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        return ctx.tied.take(tokens.reshape(-1), rows, ctx.padding), None, None, None


def tie(embedding: nn.Module, unembedding: nn.Linear) -> TiedGradient | None:
    """Have the look-up of `embedding` share its gradient with `unembedding`; None, and nothing changed, where they are no plain tied pair.

    Changes the module given: a chain's own copy of the model.
    """
    plain = type(embedding) is nn.Embedding and embedding.max_norm is None and not embedding.scale_grad_by_freq
    weight = unembedding.weight
    if not plain or embedding.weight is not weight or not weight.requires_grad or weight.device.type != "cpu":
        return None
    assert isinstance(embedding, nn.Embedding) and isinstance(weight, nn.Parameter)
    tied, padding = TiedGradient(weight), embedding.padding_idx

    def look_up(tokens: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return nn.functional.embedding(tokens, weight)
        looked_up: Tensor = _LookUp.apply(weight, tokens, tied, padding)  # type: ignore[no-untyped-call]
        return looked_up

    embedding.forward = look_up  # type: ignore[method-assign,assignment]
    return tied
