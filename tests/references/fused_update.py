"""The kernels of a fused update in numpy: the same operations in the same order, each rounded to float32. Tiles one after another.

`launch` takes what the Triton kernels take, addresses included, so that it can stand in for them where there is no triton.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MASK = np.uint64(0xFFFFFFFF)
F = np.float32
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


def words(counter: list[NDArray[np.uint64]], key: int) -> list[NDArray[np.uint64]]:
    """Philox 4x32-10 of many counters, words in 64 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (second >> np.uint64(32)) ^ c1 ^ np.uint64(k0), (first >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c1, c3 = second & MASK, first & MASK
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def normals(element: int, count: int, step: int, key: int, last: int) -> NDArray[np.float32]:
    """N(0, 1) of `count` elements from `element` on, both multiples of 4."""
    quad = np.arange(element // 4, (element + count) // 4, dtype=np.uint64)
    like = np.ones_like(quad)
    a, b, c, d = words([quad & MASK, quad >> np.uint64(32), like * np.uint64(step & 0xFFFFFFFF), like * np.uint64(last)], key)
    (first, second), (third, fourth) = pair(a, b), pair(c, d)
    return np.stack([first, second, third, fourth], axis=1).reshape(-1)


def pair(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Box and Muller's two numbers."""
    radius = np.sqrt(np.maximum(log((a.astype(F) + F(0.5)) * F(2.0**-32)) * F(-2), F(0)))
    cosine, sine = cos_sin(b.astype(F) * F(2 * math.pi * 2.0**-32))
    return radius * cosine, radius * sine


def log(u: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cephes' logf."""
    half, exponent = np.frexp(u)
    low = half < F(0.7071067690849304)
    m, e = np.where(low, half + half, half) - F(1), np.where(low, exponent - 1, exponent).astype(F)
    y = np.full_like(m, F(7.0376836292e-2))
    for factor in (-1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1):
        y = y * m + F(factor)
    y = (y * m + F(-2.4999993993e-1)) * m + F(3.3333331174e-1)
    z = m * m
    y = y * m * z + e * F(-2.12194440e-4)
    return (m + (y - z * F(0.5))) + e * F(0.693359375)


def cos_sin(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cephes' cosf and sinf, of angles from 0 to 2 pi."""
    octant = (x * F(1.2732395447351628)).astype(np.int32)
    octant += octant & 1
    n, quarter = octant.astype(F), octant >> 1
    r = ((x - n * F(0.78515625)) - n * F(2.4187564849853515625e-4)) - n * F(3.77489497744594108e-8)
    z = r * r
    s = ((z * F(-1.9515295891e-4) + F(8.3321608736e-3)) * z + F(-1.6666654611e-1)) * z * r + r
    c = ((z * F(2.443315711809948e-5) + F(-1.388731625493765e-3)) * z + F(4.166664568298827e-2)) * z * z - z * F(0.5) + F(1)
    cosine = np.select([quarter % 4 == 0, quarter % 4 == 1, quarter % 4 == 2], [c, -s, -c], s)
    sine = np.select([quarter % 4 == 0, quarter % 4 == 1, quarter % 4 == 2], [s, c, -s], -c)
    return cosine, sine


def read(address: int, first: int, count: int, kind: str) -> NDArray[np.float32]:
    """`count` numbers from the `first` on at an address."""
    width = WIDTHS[kind]
    raw = ctypes.string_at(address + first * width, count * width)
    return torch.frombuffer(bytearray(raw), dtype=getattr(torch, kind)).float().numpy()


def launch(plan: Any, gradients: torch.Tensor, step: torch.Tensor) -> None:
    """A step of all chains. Written into the plan's tensors."""
    number = int(step[0]) & 0xFFFFFFFF
    with np.errstate(all="ignore"):  # numbers that are none go through, as they do on a GPU
        for chain in range(plan.weights.shape[0]):
            for tile, (segment, offset) in enumerate(plan.where.tolist()):
                plan.partials[chain, :, tile] = torch.from_numpy(_tile(plan, gradients, number, chain, segment, offset))
            totals = plan.partials[chain].double().sum(1)
            plan.squares[chain], plan.norms[chain] = totals.float(), totals.sqrt().float()
            plan.heat[chain] = (totals / plan.thermal[0] - plan.thermal[1]).float()


def _tile(plan: Any, gradients: torch.Tensor, step: int, chain: int, segment: int, offset: int) -> NDArray[np.float32]:
    start, length, anchor_at, mask_at = plan.segments[segment].tolist()
    scalars = {name: F(value) for name, value in plan.scalars._asdict().items()}
    count, tile = min(4096, length - offset), slice(start + offset, start + min(length, offset + 4096))
    w, anchor = plan.weights[chain, tile].numpy().copy(), read(anchor_at, offset, count, "float32")
    g = read(int(gradients[segment]), chain * plan.gradient_stride + offset, count, plan.gradient_type)
    mask = read(mask_at, offset, count, "float32") if mask_at else np.ones(count, F)
    z = normals(start + offset, -(-count // 4) * 4, step, int(plan.keys[chain]) % (1 << 64), int(plan.lasts[chain]))[:count]
    first = plan.first[chain, tile].numpy()
    if plan.method == 0:
        moved, v = _sgld(w, g, z, mask, anchor, **scalars), None
    elif plan.method == 1:
        moved, square = _rmsprop(w, g, z, mask, anchor, first.copy(), **scalars)
        first[:], v = square, None
    else:
        moved, v = _sgnht(w, g, z, mask, anchor, first.copy(), plan.second[chain, 0].numpy(), **scalars)
    if plan.boxed:
        low, high = anchor - scalars["box"], anchor + scalars["box"]
        if v is not None:
            v = np.where((moved < low) | (moved > high), -v, v)
        moved = np.where(moved < low, low, np.where(moved > high, high, moved))
    plan.weights[chain, tile] = torch.from_numpy(moved)
    if plan.published is not plan.weights:
        plan.published[tile] = torch.from_numpy(moved).to(plan.published.dtype)
    if v is not None:
        first[:] = v
    return np.array([_summed(g), _summed(moved - anchor), F(0) if v is None else _summed(v)])


def _summed(values: NDArray[np.float32]) -> np.float32:
    """The sum of squares of a tile filled up with zeros: its chunks of 1024 onto each other, then in numpy's (the interpreter's) order."""
    whole = np.zeros(4096, F)
    whole[: len(values)] = values * values
    chunks = whole.reshape(4, 1024)
    return (((chunks[0] + chunks[1]) + chunks[2]) + chunks[3]).sum()


def _sgld(w: Any, g: Any, z: Any, mask: Any, anchor: Any, *, noise: Any, gradient: Any, pull: Any, decay: Any, **_: Any) -> Any:
    update = z * noise + g * gradient
    if pull:
        update = update + (w - anchor) * pull
    if decay:
        update = update + w * decay
    return w + update * mask


def _rmsprop(w: Any, g: Any, z: Any, mask: Any, anchor: Any, square: Any, **s: Any) -> Any:
    square = square * s["alpha"] + (g * g) * s["rest"]
    conditioner = F(1) / (np.sqrt(square) + s["delta"])
    drift = g * s["gradient"]
    if s["pull"]:
        drift = drift + (w - anchor) * s["pull"]
    if s["decay"]:
        drift = drift + w * s["decay"]
    update = (z * np.sqrt(conditioner)) * s["noise"] + (drift * conditioner) * s["half"]
    return w + update * mask, square


def _sgnht(w: Any, g: Any, z: Any, mask: Any, anchor: Any, v: Any, friction: Any, **s: Any) -> Any:
    v = v * (F(1) - friction) + g * s["gradient"]
    if s["pull"]:
        v = v + (w - anchor) * s["pull"]
    if s["decay"]:
        v = v + w * s["decay"]
    v = (v + z * s["noise"]) * mask
    return w + v, v
