"""Sums of weighted rows and dots of rows, for few active latents of many. Imports triton.

A row of the matrix is read once an entry, 16 bytes a thread, where `embedding_bag` reads numbers one by one and its gradient adds in
whatever order threads come. A sum of few entries is one program's, in their order. A longer one, such as that of a latent that fires on
every input, is cut from its own beginning into parts of SPLIT entries, a program each, which are then added in their order: the bits of a
sum depend on its own entries alone.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""Columns of one program."""
SPLIT = 256
"""Entries of one program."""


@triton.jit  # type: ignore[untyped-decorator]
def _sum(values, order, indices, matrix, begin, end, at, width, ORDERED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Σ value · matrix[index] over these entries, one after another, at these columns."""
    total = tl.zeros([BLOCK], tl.float32)
    for entry in range(begin, end):
        place = tl.load(order + entry) if ORDERED else entry
        row = tl.load(matrix + tl.load(indices + entry) * width + at, mask=at < width, other=0.0)
        total += tl.load(values + place) * row
    return total


@triton.jit
def _group_at(offsets, groups, entry):  # type: ignore[no-untyped-def]
    """The group of an entry: the last that does not begin after it."""
    low, high = entry * 0, entry * 0 + groups
    while high - low > 1:
        middle = (low + high) // 2
        after = tl.load(offsets + middle) > entry
        low, high = tl.where(after, low, middle), tl.where(after, middle, high)
    return low


@triton.jit(do_not_specialize=["groups", "entries"])  # type: ignore[untyped-decorator]
def _parts(  # type: ignore[no-untyped-def]
    parts, values, order, indices, offsets, matrix, groups, entries, width, ORDERED: tl.constexpr, SPLIT: tl.constexpr, BLOCK: tl.constexpr
):
    """The parts of long groups. Of SPLIT neighbouring entries two can begin parts: the group that goes on from those before, and the last
    one. So a part has a place of its own, even for the former, odd for the latter, without anybody having counted them."""
    slot = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    tile = slot // 2
    begin, begins_here = tile * SPLIT, slot % 2 == 1
    group = _group_at(offsets, groups, tl.where(begins_here, tl.minimum(begin + SPLIT, entries) - 1, begin))
    first, end = tl.load(offsets + group), tl.load(offsets + group + 1)
    if (end - first > SPLIT) & ((first >= begin) == begins_here):
        start = first + (tile - first // SPLIT) * SPLIT
        total = _sum(values, order, indices, matrix, start, tl.minimum(start + SPLIT, end), at, width, ORDERED, BLOCK)
        tl.store(parts + slot * width + at, total, mask=at < width)


@triton.jit  # type: ignore[untyped-decorator]
def _row_sums(  # type: ignore[no-untyped-def]
    out, parts, values, order, indices, offsets, matrix, width, ORDERED: tl.constexpr, SPLIT: tl.constexpr, BLOCK: tl.constexpr
):
    """Short groups, and long ones of their parts."""
    group = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first, end = tl.load(offsets + group), tl.load(offsets + group + 1)
    if end - first <= SPLIT:
        total = _sum(values, order, indices, matrix, first, end, at, width, ORDERED, BLOCK)
    else:
        total = tl.zeros([BLOCK], tl.float32)
        tile = first // SPLIT
        for part in range(0, tl.cdiv(end - first, SPLIT)):
            slot = 2 * (tile + part) + tl.where(part == 0, 1, 0)
            total += tl.load(parts + slot * width + at, mask=at < width, other=0.0)
    tl.store(out + group.to(tl.int64) * width + at, total, mask=at < width)


@triton.jit  # type: ignore[untyped-decorator]
def _row_dots(out, lefts, rights, left, right, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    entry = tl.program_id(0)
    a, b = left + tl.load(lefts + entry) * width, right + tl.load(rights + entry) * width
    products = tl.zeros([BLOCK], tl.float32)
    for begin in range(0, width, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        inside = at < width
        products += tl.load(a + at, mask=inside, other=0.0) * tl.load(b + at, mask=inside, other=0.0)
    tl.store(out + entry, tl.sum(products, 0))


def row_sums(values: Tensor, order: Tensor | None, indices: Tensor, offsets: Tensor, matrix: Tensor, out: Tensor) -> None:
    """out (g, d): row i is the sum over the entries from offsets[i] to offsets[i + 1] of value · matrix[index].

    values (n,) float32, entry e's at order[e], or at e; indices (n,) and offsets (g + 1,) int64; matrix (rows, d) float32, contiguous.
    """
    groups, width = out.shape
    entries, columns = indices.shape[0], triton.cdiv(width, BLOCK)
    kept = indices if order is None else order
    how = {"ORDERED": order is not None, "SPLIT": SPLIT, "BLOCK": BLOCK, "enable_fp_fusion": False}
    parts = out  # read by nobody where no group can be long
    if entries > SPLIT:
        slots = 2 * triton.cdiv(entries, SPLIT)
        parts = out.new_empty(slots, width)
        _parts[slots, columns](parts, values, kept, indices, offsets, matrix, groups, entries, width, **how)
    _row_sums[groups, columns](out, parts, values, kept, indices, offsets, matrix, width, **how)


def row_dots(lefts: Tensor, rights: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None:
    """out (n,): ⟨left[lefts[e]], right[rights[e]]⟩. lefts, rights (n,) int64; left and right (rows, d) float32, contiguous."""
    if out.shape[0]:
        _row_dots[(out.shape[0],)](out, lefts, rights, left, right, left.shape[1], BLOCK=BLOCK, enable_fp_fusion=False)
