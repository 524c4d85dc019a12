"""Cross-entropy of rows of logits: in one launch where the kernel runs, else by operations that go over the logits in cached pieces.

The kernel reads the logits once for the losses, twice for their derivatives, and allocates nothing; operations are six and more passes, and
adding to single elements is what PyTorch sorts for where it must be deterministic on a GPU.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.device import launching_on, tried

_CACHE_ROWS_BYTES = 1 << 20
"""Row-wise passes over logits run on a CPU in pieces of about this many bytes, which stay in a core's cache."""


class RowKernel(Protocol):
    """`row_losses_triton`."""

    def losses(self, logits: Tensor, target: Tensor, out: Tensor) -> None: ...
    def slopes_(self, logits: Tensor, target: Tensor, out: Tensor | None) -> None: ...


def losses(z: Float[Tensor, "n v"], target: Int[Tensor, " n"], out: Float[Tensor, " n"]) -> None:
    """Write lse(z) − z_target to `out`, nats. Operations use the logits up; the kernel leaves them, and takes shorter floats too."""
    if (kernel := kernel_on(z.device)) is not None and z.stride(1) == 1:
        with launching_on(z.device):
            kernel.losses(z, target, out)
        return
    softmax_(z, target, out)


def slopes_(z: Float[Tensor, "n v"], target: Int[Tensor, " n"], out: Float[Tensor, " n"] | None) -> None:
    """Turn float32 logits into the losses' derivatives by them, p − onehot(target), in place; the losses to `out`, if given."""
    if (kernel := kernel_on(z.device)) is not None and z.is_contiguous():
        with launching_on(z.device):
            kernel.slopes_(z, target, out)
        return
    if out is None:
        torch.softmax(z, -1, out=z)
    else:
        softmax_(z, target, out)
    z.scatter_add_(-1, target[:, None], torch.full((z.shape[0], 1), -1.0, device=z.device))


def softmax_(z: Float[Tensor, "n v"], target: Int[Tensor, " n"], out: Float[Tensor, " n"]) -> None:
    """Turn logits into probabilities in place and write lse(z) − z_target to `out`, by operations.

    lse = max z − log max p: exact where p_target itself would underflow, and the softmax kernel does the summing.
    """
    rows = rows_at_once(z)
    for start in range(0, z.shape[0], rows):
        part = z[start : start + rows]
        top = part.amax(-1)
        chosen = part.gather(-1, target[start : start + rows, None])[:, 0]
        torch.softmax(part, -1, out=part)
        out[start : start + rows] = top - part.amax(-1).log_() - chosen


def rows_at_once(z: Float[Tensor, "n v"]) -> int:
    """Rows of one pass over logits: all off the CPU, where a piece would cost as many launches as the whole. The bits are the same."""
    return max(1, _CACHE_ROWS_BYTES // (4 * z.shape[1]) if z.device.type == "cpu" else z.shape[0])


@cache
def kernel_on(device: torch.device) -> RowKernel | None:
    """The kernel, where it runs on this device and gives what operations give."""
    kernel: RowKernel | None = tried(device, f"{__package__}.row_losses_triton", right)
    return kernel


def right(kernel: RowKernel, device: torch.device) -> bool:
    """Whether the kernel's losses and derivatives of a few rows on this device are those of operations."""
    draw = torch.Generator().manual_seed(0)
    z = (8 * torch.randn(5, 9_001, generator=draw)).to(device)
    target = torch.tensor([0, 4095, 4096, 9000, 77], device=device)
    want, mine, again = torch.empty(3, 5, device=device)
    by_operations, by_kernel = z.clone(), z.clone()
    softmax_(by_operations, target, want)
    by_operations[torch.arange(5, device=device), target] -= 1.0
    with launching_on(device):
        kernel.losses(z, target, mine)
        kernel.slopes_(by_kernel, target, again)
    same = torch.allclose(mine, want, rtol=1e-5, atol=1e-5) and torch.equal(mine, again)
    return same and torch.allclose(by_kernel, by_operations, rtol=1e-4, atol=1e-6)
