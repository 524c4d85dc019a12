"""Cross-entropy of rows of logits in one launch: what is read once or twice stays in a multiprocessor's cache. Imports triton.

A program has one row. Nothing is summed across programs, so that the bits do not depend on their order.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

WIDE = 4096
"""Logits that a program looks at at once."""


@triton.jit  # type: ignore[untyped-decorator]
def _rows(logits, targets, losses, slopes, stride, width, SLOPE: tl.constexpr, LOSS: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    z = logits + row * stride
    target = tl.load(targets + row)
    chosen = tl.load(z + target).to(tl.float32)
    # each lane has its own maximum and sum (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"); joined at the end
    top = tl.full([WIDE], float("-inf"), tl.float32)
    mass = tl.zeros([WIDE], tl.float32)
    for begin in range(0, width, WIDE):
        at = begin + tl.arange(0, WIDE)
        x = tl.load(z + at, mask=at < width, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, x, propagate_nan=tl.PropagateNan.ALL)
        still = higher == float("-inf")  # nothing yet: minus infinity less itself is no number
        mass = tl.where(still, 0.0, mass * tl.exp(top - higher) + tl.exp(x - higher))
        top = higher
    highest = tl.max(top, 0)
    total = tl.sum(tl.where(top == float("-inf"), 0.0, mass * tl.exp(top - highest)), 0)
    if LOSS:
        tl.store(losses + row, highest + tl.log(total) - chosen)
    if SLOPE:
        for begin in range(0, width, WIDE):
            at = begin + tl.arange(0, WIDE)
            x = tl.load(z + at, mask=at < width, other=float("-inf")).to(tl.float32)
            p = tl.exp(x - highest) / total
            tl.store(slopes + row * width + at, p - (at == target).to(tl.float32), mask=at < width)


def losses(logits: Tensor, target: Tensor, out: Tensor) -> None:
    """out (n,) float32: lse(z) − z_target of each row of `logits` (n, v), in nats; target (n,) int64."""
    n, v = logits.shape
    _rows[(n,)](logits, target, out, out, logits.stride(0), v, SLOPE=False, LOSS=True, WIDE=WIDE, num_warps=8)


def slopes_(logits: Tensor, target: Tensor, out: Tensor | None) -> None:
    """Turn float32 logits (n, v) without gaps into the losses' derivatives by them, p − onehot(target); the losses to `out`, if given."""
    n, v = logits.shape
    kept = logits if out is None else out
    _rows[(n,)](logits, target, kept, logits, v, v, SLOPE=True, LOSS=out is not None, WIDE=WIDE, num_warps=8)
