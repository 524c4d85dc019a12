"""Modules that compute with a weight of which only a slab is sampled: the slab comes from a leaf, the rest is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize

from .weight_slice import WeightSlice


class _SlabLinear(torch.autograd.Function):
    """y = x Wᵀ + b, with the gradient of W only for `count` rows (axis 0) or columns (axis 1) from `first` on.

    The product is that of the whole weight, so y is the same to the last bit as without a restriction; in the backward pass
    dW[rows] = dy[:, rows]ᵀ x, or dW[:, columns] = dyᵀ x[:, columns], is as many times cheaper as the slab is smaller.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, leaf: Tensor, bias: Tensor | None, full: Tensor, axis: int, first: int) -> Tensor:
        full.narrow(axis, first, leaf.shape[axis]).copy_(leaf)
        ctx.axis, ctx.first, ctx.count = axis, first, leaf.shape[axis]
        ctx.save_for_backward(x, full)
        return nn.functional.linear(x, full, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, full = ctx.saved_tensors
        dx = dy @ full if ctx.needs_input_grad[0] else None
        rows_dy, rows_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        if ctx.axis == 0:
            rows_dy = rows_dy.narrow(1, ctx.first, ctx.count)
        else:
            rows_x = rows_x.narrow(1, ctx.first, ctx.count)
        return dx, rows_dy.T @ rows_x, None, None, None, None


class SlabLinear(nn.Module):
    """`nn.Linear` with a leaf for a stretch of its weight's rows or columns, and a fixed bias."""

    def __init__(self, full: Float[Tensor, "out in"], bias: Tensor | None, leaf: Tensor, axis: int, first: int) -> None:
        super().__init__()
        self.weight, self.bias = full, bias
        self._leaf, self._axis, self._first = leaf, axis, first
        self.in_features, self.out_features = full.shape[1], full.shape[0]

    def forward(self, x: Float[Tensor, "*b in"]) -> Float[Tensor, "*b out"]:
        """The layer's output with the leaf's present values."""
        out: Tensor = _SlabLinear.apply(x, self._leaf, self.bias, self.weight, self._axis, self._first)  # type: ignore[no-untyped-call]
        return out


class _Put(nn.Module):
    def __init__(self, full: Tensor, slab: WeightSlice) -> None:
        super().__init__()
        self._full, self._slab = full, slab

    def forward(self, part: Tensor) -> Tensor:
        return self._slab.put(self._full, part)


def install_slices(model: nn.Module, slabs: Mapping[str, WeightSlice], leaves: Mapping[str, Tensor]) -> None:
    """Have a model, which no other chain uses, compute with these leaves in place of the slabs of its parameters.

    leaves: by parameter, of its slab's shape.
    """
    for name, slab in slabs.items():
        path, _, attribute = name.rpartition(".")
        owner = model.get_submodule(path)
        full, stretch = getattr(owner, attribute).detach().clone(), slab.stretch
        if type(owner) is nn.Linear and attribute == "weight" and stretch is not None and f"{path}.bias" not in leaves:
            bias = owner.bias
            model.set_submodule(path, SlabLinear(full, None if bias is None else bias.detach(), leaves[name], slab.axis, stretch[0]))
        else:
            setattr(owner, attribute, leaves[name])
            parametrize.register_parametrization(owner, attribute, _Put(full, slab), unsafe=True)
