"""Whether a model's stacked form is the model: both tried on a few tokens, at two settings of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from .parameters import ParameterSpace
from .stacked_llama import StackedLlama

Functional = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(leaves, ids (b, t+1)) -> losses (b, t), as a pure function."""


def agrees(stacked: StackedLlama, functional: Functional, space: ParameterSpace, ids: Int[Tensor, "b t1"]) -> bool:
    """Whether losses and every parameter's gradient are equal to rounding: 1e-4 of the gradient's norm in float32."""
    eps = torch.finfo(space.dtype).eps
    tolerance = 1e-4 if space.dtype == torch.float32 else 32 * eps
    flat = torch.stack([space.anchor(), space.anchor() * 1.01])
    into = torch.zeros_like(flat)
    losses = stacked.gradient(flat, into, ids, total=1, keep=0)
    gradients = space.views(into)
    for chain in range(2):
        leaves = {name: view[chain].to(space.dtype).requires_grad_() for name, view in space.views(flat).items()}
        with torch.enable_grad():
            want = functional(leaves, ids)
            slopes = torch.autograd.grad(want.sum(), list(leaves.values()))
        if not torch.allclose(losses[chain], want, rtol=tolerance, atol=tolerance):
            return False
        sizes = [((gradients[name][chain] - slope).norm(), slope.norm()) for name, slope in zip(leaves, slopes, strict=True)]
        for apart, size in torch.stack([torch.stack(pair) for pair in sizes]).tolist():
            if not apart <= tolerance * size + 1e-12:
                return False
    return True
