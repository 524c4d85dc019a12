"""The numbers of `philox` in one kernel: the counter is hashed in registers, and memory is written once. Imports triton.

Torch's operations would pass over memory some hundred times, and launch as often. Tested against the slow reference under Triton's
interpreter (TRITON_INTERPRET=1), which needs no GPU.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

QUADS = 256
"""Counters of one program, four numbers each."""


@triton.jit(do_not_specialize=["stride", "count", "first"])  # type: ignore[untyped-decorator]
def _fill(out, stride, count, first, steps, keys, lasts, QUADS: tl.constexpr):  # type: ignore[no-untyped-def]
    chain = tl.program_id(1)
    step, key, last = tl.load(steps), tl.load(keys + chain), tl.load(lasts + chain)
    place = tl.program_id(0).to(tl.int64) * QUADS + tl.arange(0, QUADS)
    quad = place + first
    c0, c1 = (quad & 0xFFFFFFFF).to(tl.uint32), (quad >> 32).to(tl.uint32)
    zero = c0 ^ c0
    a, b, c, d = tl.philox(key, c0, c1, zero + step.to(tl.uint32), zero + last.to(tl.uint32))
    scale: tl.constexpr = 2.3283064365386963e-10  # 2^-32
    turn: tl.constexpr = 1.4629180792671596e-09  # 2 pi 2^-32
    r = tl.sqrt(tl.maximum(-2.0 * tl.log((a.to(tl.float32) + 0.5) * scale), 0.0))
    s = tl.sqrt(tl.maximum(-2.0 * tl.log((c.to(tl.float32) + 0.5) * scale), 0.0))
    alpha, beta = b.to(tl.float32) * turn, d.to(tl.float32) * turn
    at = 4 * place
    row = out + chain.to(tl.int64) * stride
    tl.store(row + at, r * tl.cos(alpha), mask=at < count)
    tl.store(row + at + 1, r * tl.sin(alpha), mask=at + 1 < count)
    tl.store(row + at + 2, s * tl.cos(beta), mask=at + 2 < count)
    tl.store(row + at + 3, s * tl.sin(beta), mask=at + 3 < count)


def fill(out: Tensor, element: int, step: Tensor, keys: Tensor, lasts: Tensor) -> None:
    """Overwrite `out` (chains, n) with the numbers of the elements from `element` on, a multiple of 4.

    On the device of `out`, int64: step (1,); keys (chains,), the two words of each in one; lasts (chains,), 32 bits.
    """
    chains, count = out.shape
    _fill[(triton.cdiv(count, 4 * QUADS), chains)](out, out.stride(0), count, element // 4, step, keys, lasts, QUADS=QUADS)
