"""Sums of weighted rows and dots of rows, entry by entry in float32; in place of the Triton kernels where there is no triton."""

from __future__ import annotations

import torch
from torch import Tensor

CALLS: list[str] = []
"""Which of the two was called, in order."""
BLOCK = 512
SPLIT = 256
"""Entries that are summed one after another; longer sums are sums of such."""


def row_sums(values: Tensor, order: Tensor | None, indices: Tensor, offsets: Tensor, matrix: Tensor, out: Tensor) -> None:
    """out[i] = Σ value · matrix[index] over the entries of group i, one after another, in parts of SPLIT from its beginning."""
    CALLS.append("sums")
    chosen = values if order is None else values[order]
    out.zero_()
    for group, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        for first in range(begin, end, SPLIT):
            part = torch.zeros(matrix.shape[1])
            for entry in range(first, min(first + SPLIT, end)):
                part += chosen[entry] * matrix[indices[entry]]
            out[group] += part


def row_dots(lefts: Tensor, rights: Tensor, left: Tensor, right: Tensor, out: Tensor) -> None:
    """out[e] = ⟨left[lefts[e]], right[rights[e]]⟩."""
    CALLS.append("dots")
    for entry in range(out.shape[0]):
        products = torch.nn.functional.pad(left[lefts[entry]] * right[rights[entry]], (0, -left.shape[1] % BLOCK)).view(-1, BLOCK)
        total = torch.zeros(BLOCK)
        for part in products:
            total += part
        out[entry] = float(total.numpy().sum())
