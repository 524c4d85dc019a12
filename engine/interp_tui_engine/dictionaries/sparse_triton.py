"""Sums of weighted rows and dots of rows, for few active latents of many. Imports triton.

A program has one sum, in the order of its entries, so that the bits depend on nothing else; a row of the matrix is read once an entry,
16 bytes a thread, where `embedding_bag` reads numbers one by one and its gradient adds in whatever order threads come.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""Columns of one program."""


@triton.jit  # type: ignore[untyped-decorator]
def _row_sums(out, values, order, indices, offsets, matrix, width, ORDERED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    group = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    total = tl.zeros([BLOCK], tl.float32)
    for entry in range(tl.load(offsets + group), tl.load(offsets + group + 1)):
        place = tl.load(order + entry) if ORDERED else entry
        row = tl.load(matrix + tl.load(indices + entry) * width + at, mask=inside, other=0.0)
        total += tl.load(values + place) * row
    tl.store(out + group.to(tl.int64) * width + at, total, mask=inside)


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
    grid = groups, triton.cdiv(width, BLOCK)
    kept = indices if order is None else order
    _row_sums[grid](out, values, kept, indices, offsets, matrix, width, ORDERED=order is not None, BLOCK=BLOCK, enable_fp_fusion=False)


def row_dots(lefts: Tensor, rights: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None:
    """out (n,): ⟨left[lefts[e]], right[rights[e]]⟩. lefts, rights (n,) int64; left and right (rows, d) float32, contiguous."""
    if out.shape[0]:
        _row_dots[(out.shape[0],)](out, lefts, rights, left, right, left.shape[1], BLOCK=BLOCK, enable_fp_fusion=False)
