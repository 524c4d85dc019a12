"""The kernels of a fused update: one moves the weights, one adds up what it measured. Imports triton.

A program of `_update` makes one tile of one chain: it reads w, g and w0, makes the noise in registers, and writes w: 16 bytes a weight
(SGLD). Nothing is summed across programs but by `_total`, in a fixed order, so that every launch has the same bits. Arithmetic is float32
as written, rounded after every operation (no contraction, exact roots and quotients): `tests/references/fused_update.py` has the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..philox_triton import normals
from .plan import CHUNK, METHODS, TILE, UpdatePlan

SGLD = tl.constexpr(METHODS["sgmcmc_sgld"])
RMSPROP = tl.constexpr(METHODS["rmsprop_sgld"])
SGNHT = tl.constexpr(METHODS["sgnht"])
WIDE = 1024
"""Tiles whose sums are added up at once."""


@triton.jit  # type: ignore[untyped-decorator]
def _rounded(x, TYPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """float32 in a shorter type, to the nearest, of two the even one: by its bits for bfloat16, which Triton's interpreter cuts off."""
    if tl.bfloat16 == TYPE:
        bits = x.to(tl.uint32, bitcast=True)
        upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        rounded = tl.where(x != x, 0x7FC0, upper).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        rounded = x.to(TYPE)
    return rounded


@triton.jit  # type: ignore[untyped-decorator]
def _chunk(  # type: ignore[no-untyped-def]
    weights, first, second, published, anchors, masks, gradients, step, key, last, row, start, length, offset,
    friction, noise_scale, gradient_scale, pull, decay, half, alpha, rest, delta, box,
    METHOD: tl.constexpr, MASKED: tl.constexpr, PULL: tl.constexpr, DECAY: tl.constexpr, BOX: tl.constexpr, PUBLISH: tl.constexpr,
    CHUNK: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Move the weights from `offset` on in a segment; the squares of gradient, way from w0 and momentum, each (CHUNK,)."""
    at = offset + tl.arange(0, CHUNK)
    inside = at < length
    if WHOLE:  # known when compiled: without a mask, 16 bytes are read at once
        inside = at >= 0
    here = row + start + at
    w = tl.load(weights + here, mask=inside, other=0.0)
    anchor = tl.load(anchors + at, mask=inside, other=0.0)
    g = tl.load(gradients + at, mask=inside, other=0.0).to(tl.float32)
    mask = tl.full([CHUNK], 1.0, tl.float32)
    if MASKED:
        mask = tl.load(masks + at, mask=inside, other=1.0)
    z = normals((start + offset) // 4 + tl.arange(0, CHUNK // 4), step, key, last)
    away = w - anchor
    energy = tl.zeros([CHUNK], tl.float32)
    if METHOD == SGLD:
        update = z * noise_scale + g * gradient_scale
        if PULL:
            update = update + away * pull
        if DECAY:
            update = update + w * decay
        moved = w + update * mask
    elif METHOD == RMSPROP:
        square = tl.load(first + here, mask=inside, other=0.0) * alpha + (g * g) * rest
        tl.store(first + here, square, mask=inside)
        conditioner = tl.div_rn(tl.full([CHUNK], 1.0, tl.float32), tl.sqrt_rn(square) + delta)
        drift = g * gradient_scale
        if PULL:
            drift = drift + away * pull
        if DECAY:
            drift = drift + w * decay
        update = (z * tl.sqrt_rn(conditioner)) * noise_scale + (drift * conditioner) * half
        moved = w + update * mask
    else:
        v = tl.load(first + here, mask=inside, other=0.0) * (1.0 - friction) + g * gradient_scale
        if PULL:
            v = v + away * pull
        if DECAY:
            v = v + w * decay
        v = (v + z * noise_scale) * mask
        moved = w + v
    if BOX:  # comparisons are false for NaN, which stays
        low, high = anchor - box, anchor + box
        if METHOD == SGNHT:
            v = tl.where((moved < low) | (moved > high), -v, v)
        moved = tl.where(moved < low, low, tl.where(moved > high, high, moved))
    tl.store(weights + here, moved, mask=inside)
    if PUBLISH:
        tl.store(published + here, _rounded(moved, published.dtype.element_ty), mask=inside)
    if METHOD == SGNHT:
        tl.store(first + here, v, mask=inside)
        energy = tl.where(inside, v * v, 0.0)
    away = tl.where(inside, moved - anchor, 0.0)
    return g * g, away * away, energy


@triton.jit(do_not_specialize=["tiles"])  # type: ignore[untyped-decorator]
def _update(  # type: ignore[no-untyped-def]
    weights, first, second, published, segments, gradients, where, partials, steps, keys, lasts, stride, gradient_stride, tiles,
    noise_scale, gradient_scale, pull, decay, half, alpha, rest, delta, box,
    METHOD: tl.constexpr, MASKED: tl.constexpr, PULL: tl.constexpr, DECAY: tl.constexpr, BOX: tl.constexpr, PUBLISH: tl.constexpr,
    GRADIENT: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """A tile of a chain, chunk by chunk; its three sums of squares go to its own place in `partials`."""
    tile, chain = tl.program_id(0), tl.program_id(1)
    segment, begin = tl.load(where + 2 * tile), tl.multiple_of(tl.load(where + 2 * tile + 1), 16)
    start, length = tl.multiple_of(tl.load(segments + 4 * segment), 16), tl.load(segments + 4 * segment + 1)
    anchor_at, mask_at = tl.load(segments + 4 * segment + 2), tl.load(segments + 4 * segment + 3)
    gradient_at = tl.load(gradients + segment)
    step, key, last = tl.load(steps), tl.load(keys + chain), tl.load(lasts + chain)
    row = chain.to(tl.int64) * stride
    anchors = tl.multiple_of(anchor_at.to(tl.pointer_type(tl.float32)), 16)
    masks = tl.multiple_of(mask_at.to(tl.pointer_type(tl.float32)), 16)
    of_chain = tl.multiple_of(gradient_at.to(tl.pointer_type(GRADIENT)), 16) + chain.to(tl.int64) * gradient_stride
    friction = 0.0
    if METHOD == SGNHT:
        friction = tl.load(second + row)  # one for all coordinates of a chain
    of_gradient = tl.zeros([CHUNK], tl.float32)
    of_distance = tl.zeros([CHUNK], tl.float32)
    of_momentum = tl.zeros([CHUNK], tl.float32)
    for piece in range(0, TILE, CHUNK):
        offset = begin + piece
        if offset + CHUNK <= length:
            a, b, c = _chunk(
                weights, first, second, published, anchors, masks, of_chain, step, key, last, row, start,
                length, offset, friction, noise_scale, gradient_scale, pull, decay, half, alpha, rest, delta, box,
                METHOD, MASKED, PULL, DECAY, BOX, PUBLISH, CHUNK, True,
            )  # fmt: skip
            of_gradient, of_distance, of_momentum = of_gradient + a, of_distance + b, of_momentum + c
        elif offset < length:
            a, b, c = _chunk(
                weights, first, second, published, anchors, masks, of_chain, step, key, last, row, start,
                length, offset, friction, noise_scale, gradient_scale, pull, decay, half, alpha, rest, delta, box,
                METHOD, MASKED, PULL, DECAY, BOX, PUBLISH, CHUNK, False,
            )  # fmt: skip
            of_gradient, of_distance, of_momentum = of_gradient + a, of_distance + b, of_momentum + c
    sums = partials + chain * 3 * tiles + tile
    tl.store(sums, tl.sum(of_gradient, 0))
    tl.store(sums + tiles, tl.sum(of_distance, 0))
    tl.store(sums + 2 * tiles, tl.sum(of_momentum, 0))


@triton.jit(do_not_specialize=["tiles"])  # type: ignore[untyped-decorator]
def _total(partials, squares, norms, heat, thermal, tiles, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of one chain and one sum over its tiles: the sum in an order of its own, its root, and how far its mean is above lr."""
    place = tl.program_id(0)
    total = tl.zeros([WIDE], tl.float64)
    for begin in range(0, tiles, WIDE):
        at = begin + tl.arange(0, WIDE)
        total += tl.load(partials + place * tiles + at, mask=at < tiles, other=0.0).to(tl.float64)
    summed = tl.sum(total, 0)
    tl.store(squares + place, summed.to(tl.float32))
    tl.store(norms + place, tl.sqrt(summed).to(tl.float32))
    tl.store(heat + place, (summed / tl.load(thermal) - tl.load(thermal + 1)).to(tl.float32))


TYPES = {"float32": tl.float32, "bfloat16": tl.bfloat16, "float16": tl.float16}


def launch(plan: UpdatePlan, gradients: Tensor, step: Tensor) -> None:
    """Carry out a step: two launches, nothing waits. gradients: int64, where each segment's gradient begins; step: int64 (1,)."""
    s = plan.scalars
    grid = plan.tiles, plan.weights.shape[0]
    _update[grid](
        plan.weights, plan.first, plan.second, plan.published, plan.segments, gradients, plan.where, plan.partials, step, plan.keys,
        plan.lasts, plan.weights.stride(0), plan.gradient_stride, plan.tiles, s.noise, s.gradient, s.pull, s.decay, s.half, s.alpha, s.rest,
        s.delta, s.box, METHOD=plan.method, MASKED=plan.masked, PULL=s.pull != 0, DECAY=s.decay != 0, BOX=plan.boxed,
        PUBLISH=plan.published is not plan.weights, GRADIENT=TYPES[plan.gradient_type], TILE=TILE, CHUNK=CHUNK, enable_fp_fusion=False,
    )  # fmt: skip
    sums = plan.partials, plan.squares, plan.norms, plan.heat, plan.thermal
    _total[(3 * plan.weights.shape[0],)](*sums, plan.tiles, WIDE=WIDE, enable_fp_fusion=False)
