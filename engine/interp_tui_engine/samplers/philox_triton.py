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


@triton.jit(do_not_specialize=["count", "first", "step", "key", "last"])  # type: ignore[untyped-decorator]
def _fill(out, count, first, step, key, last, QUADS: tl.constexpr):  # type: ignore[no-untyped-def]
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
    tl.store(out + at, r * tl.cos(alpha), mask=at < count)
    tl.store(out + at + 1, r * tl.sin(alpha), mask=at + 1 < count)
    tl.store(out + at + 2, s * tl.cos(beta), mask=at + 2 < count)
    tl.store(out + at + 3, s * tl.sin(beta), mask=at + 3 < count)


def fill(out: Tensor, element: int, step: int, key: int, last: int) -> None:
    """Overwrite `out` with the numbers of the elements from `element` on, a multiple of 4. key: 64 bits as an int64; last: 32 bits."""
    count = out.shape[0]
    _fill[(triton.cdiv(count, 4 * QUADS),)](out, count, element // 4, step, key, last, QUADS=QUADS)
