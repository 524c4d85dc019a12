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


@triton.jit
def _log(u):  # type: ignore[no-untyped-def]
    """The natural logarithm of float32 in (0, 1], to one unit in the last place (Cephes, Moshier 1992)."""
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits >> 23) - 126
    half = ((bits & 0x007FFFFF) | 0x3F000000).to(tl.float32, bitcast=True)  # in [1/2, 1)
    low = half < 0.7071067690849304
    m = tl.where(low, half + half, half) - 1.0
    e = tl.where(low, exponent - 1, exponent).to(tl.float32)
    y = m * 7.0376836292e-2 - 1.1514610310e-1
    y = y * m + 1.1676998740e-1
    y = y * m - 1.2420140846e-1
    y = y * m + 1.4249322787e-1
    y = y * m - 1.6668057665e-1
    y = y * m + 2.0000714765e-1
    y = y * m - 2.4999993993e-1
    y = y * m + 3.3333331174e-1
    z = m * m
    y = y * m * z + e * -2.12194440e-4
    return (m + (y - z * 0.5)) + e * 0.693359375


@triton.jit
def _cos_sin(x):  # type: ignore[no-untyped-def]
    """Cosine and sine of float32 in [0, 2 pi], to about one unit in the last place (Cephes)."""
    octant = (x * 1.2732395447351628).to(tl.int32)
    octant = octant + (octant & 1)
    n = octant.to(tl.float32)
    r = ((x - n * 0.78515625) - n * 2.4187564849853515625e-4) - n * 3.77489497744594108e-8
    z = r * r
    s = ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r
    c = ((z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - z * 0.5 + 1.0
    quarter = octant >> 1
    across = (quarter & 1) == 1
    cosine, sine = tl.where(across, s, c), tl.where(across, c, s)
    return tl.where(((quarter + 1) & 2) == 2, -cosine, cosine), tl.where((quarter & 2) == 2, -sine, sine)


@triton.jit
def _pair(a, b):  # type: ignore[no-untyped-def]
    """Two independent normal numbers of each pair of words: `philox._pair`."""
    scale: tl.constexpr = 2.3283064365386963e-10  # 2^-32
    turn: tl.constexpr = 1.4629180792671596e-09  # 2 pi 2^-32
    radius = tl.sqrt_rn(tl.maximum(_log((a.to(tl.float32) + 0.5) * scale) * -2.0, 0.0))
    cosine, sine = _cos_sin(b.to(tl.float32) * turn)
    return radius * cosine, radius * sine


@triton.jit
def normals(quad, step, key, last):  # type: ignore[no-untyped-def]
    """N(0, 1) of the elements 4·quad to 4·quad + 3, in their order. quad int64 (n,), step, key and last scalars; float32 (4n,).

    Products, sums and exact roots of float32 only: the bits are the same on every device that does not contract them. The device's own
    logarithm, sine and cosine would differ, and bring code along for angles that do not occur here.
    """
    c0, c1 = (quad & 0xFFFFFFFF).to(tl.uint32), (quad >> 32).to(tl.uint32)
    zero = c0 ^ c0
    a, b, c, d = tl.philox(key, c0, c1, zero + step.to(tl.uint32), zero + last.to(tl.uint32))
    first, second = _pair(a, b)
    third, fourth = _pair(c, d)
    # interleaved, so that a thread holds four neighbours: 16 bytes, which memory takes at once
    return tl.interleave(tl.interleave(first, third), tl.interleave(second, fourth))


@triton.jit(do_not_specialize=["count", "first"])  # type: ignore[untyped-decorator]
def _fill(out, stride, count, first, steps, keys, lasts, QUADS: tl.constexpr):  # type: ignore[no-untyped-def]
    chain = tl.program_id(1)
    step, key, last = tl.load(steps), tl.load(keys + chain), tl.load(lasts + chain)
    begin = tl.program_id(0).to(tl.int64) * QUADS
    numbers = normals(begin + tl.arange(0, QUADS) + first, step, key, last)
    at = 4 * begin + tl.arange(0, 4 * QUADS)
    tl.store(out + chain.to(tl.int64) * stride + at, numbers, mask=at < count)


def fill(out: Tensor, element: int, step: Tensor, keys: Tensor, lasts: Tensor) -> None:
    """Overwrite `out` (chains, n) with the numbers of the elements from `element` on, a multiple of 4.

    On the device of `out`, int64: step (1,); keys (chains,), the two words of each in one; lasts (chains,), 32 bits.
    """
    chains, count = out.shape
    grid = triton.cdiv(count, 4 * QUADS), chains
    _fill[grid](out, out.stride(0), count, element // 4, step, keys, lasts, QUADS=QUADS, enable_fp_fusion=False)
