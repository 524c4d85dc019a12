"""Sums of weighted rows, by a kernel where it runs and by `embedding_bag` elsewhere; the first differentiable in its values."""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..models.device import launching_on, tried


class SparseKernel(Protocol):
    """`sparse_triton`."""

    def row_sums(self, values: Tensor, order: Tensor | None, indices: Tensor, offsets: Tensor, matrix: Tensor, out: Tensor) -> None: ...
    def row_dots(self, lefts: Tensor, rights: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None: ...


def row_sums(
    values: Float[Tensor, " n"],
    indices: Int[Tensor, " n"],
    offsets: Int[Tensor, " g1"],
    matrix: Float[Tensor, "rows d"],
    order: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, "g d"]:
    """Row i: Σ over the entries from offsets[i] to offsets[i + 1] of value · matrix[index]; entry e's value is at order[e], or at e."""
    kernel = kernel_on(matrix.device)
    if kernel is None:
        chosen = values if order is None else values[order]
        return F.embedding_bag(indices, matrix, offsets, mode="sum", per_sample_weights=chosen, include_last_offset=True)
    return _by_kernel(kernel, values, order, indices, offsets, matrix)


def _by_kernel(kernel: SparseKernel, values: Tensor, order: Tensor | None, indices: Tensor, offsets: Tensor, matrix: Tensor) -> Tensor:
    out = torch.empty(offsets.shape[0] - 1, matrix.shape[1], device=matrix.device)
    with launching_on(matrix.device):
        kernel.row_sums(values.float().contiguous(), order, indices, offsets, matrix.float().contiguous(), out)
    return out


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, indices: Tensor, offsets: Tensor, row_of: Tensor, matrix: Tensor) -> Tensor:
        kernel = kernel_on(matrix.device)
        assert kernel is not None
        ctx.save_for_backward(indices, row_of, matrix)
        ctx.dtype = values.dtype
        return _by_kernel(kernel, values, None, indices, offsets, matrix)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        indices, row_of, matrix = ctx.saved_tensors
        kernel = kernel_on(matrix.device)
        assert kernel is not None
        out = torch.empty(indices.shape[0], device=matrix.device)
        with launching_on(matrix.device):
            kernel.row_dots(row_of, indices, gradient.float().contiguous(), matrix.float().contiguous(), out)
        return out.to(ctx.dtype), None, None, None, None


def differentiable_row_sums(
    values: Float[Tensor, " n"],
    indices: Int[Tensor, " n"],
    offsets: Int[Tensor, " g1"],
    row_of: Int[Tensor, " n"],
    matrix: Float[Tensor, "rows d"],
) -> Float[Tensor, "g d"]:
    """`row_sums`, differentiable in the values. row_of: the sum that each entry belongs to."""
    summed: Tensor = _Differentiable.apply(values, indices, offsets, row_of, matrix)  # type: ignore[no-untyped-call]
    return summed


@cache
def kernel_on(device: torch.device) -> SparseKernel | None:
    """The kernel, where it runs on this device and gives what `embedding_bag` gives."""
    kernel: SparseKernel | None = tried(device, f"{__package__}.sparse_triton", right)
    return kernel


def right(kernel: SparseKernel, device: torch.device) -> bool:
    """Whether the kernel's sums and dots of a few rows on this device are those of operations; one sum is as long as a hot latent's."""
    draw, counts = torch.Generator().manual_seed(0), [2, 0, 3, 700]
    matrix, gradient, values = (torch.randn(*shape, generator=draw).to(device) for shape in ((9, 700), (4, 700), (705,)))
    indices, row_of = torch.randint(9, (705,), generator=draw).to(device), torch.repeat_interleave(torch.tensor(counts)).to(device)
    offsets = torch.tensor([0, *counts]).cumsum(0).to(device)
    values[5:] /= 30.0  # as large a sum as of few
    want = F.embedding_bag(indices, matrix, offsets, mode="sum", per_sample_weights=values, include_last_offset=True)
    dots = torch.empty(705, device=device)
    with launching_on(device):
        kernel.row_dots(row_of, indices, gradient, matrix, dots)
    sums_right = torch.allclose(_by_kernel(kernel, values, None, indices, offsets, matrix), want, rtol=1e-5, atol=1e-5)
    return sums_right and torch.allclose(dots, (gradient[row_of] * matrix[indices]).sum(1), rtol=1e-4, atol=1e-4)
