"""Masks that keep whole rows or columns of a weight: then only those are sampled, as a smaller tensor.

A head's restriction is a stretch of rows of q and of columns of o. The chain's vector, its noise, its gradient and the sampler's own
state hold these elements and no others; the rest of the weight stays what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WeightSlice:
    """The entries `index` (in order) along one axis of a tensor, and everything there."""

    axis: int
    index: Int[Tensor, " k"]

    @property
    def stretch(self) -> tuple[int, int] | None:
        """(first entry, number of entries) where the entries follow one another, else None."""
        first, count = int(self.index[0]), len(self.index)
        return (first, count) if int(self.index[-1]) - first == count - 1 else None

    def take(self, full: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """The slab of a tensor, as a tensor of its own."""
        return full.index_select(self.axis, self.index).contiguous()

    def within(self, rows: slice) -> WeightSlice:
        """The same of these rows alone, counted from the first of them."""
        if self.axis != 0:
            return self
        return WeightSlice(0, self.index[(self.index >= rows.start) & (self.index < rows.stop)] - rows.start)

    def rows_before(self, row: int) -> int:
        """How many rows of the slab come before a row of the tensor."""
        return int((self.index < row).sum()) if self.axis == 0 else row

    def shape(self, full: torch.Size) -> torch.Size:
        """The slab's shape in a tensor of this one."""
        return torch.Size(len(self.index) if axis == self.axis else size for axis, size in enumerate(full))

    def put(self, full: Float[Tensor, ...], part: Float[Tensor, ...]) -> Float[Tensor, ...]:
        """`full` with the slab replaced; gradients flow to both."""
        return full.index_copy(self.axis, self.index, part)


def weight_slice_of(mask: Tensor) -> WeightSlice | None:
    """The slab that a mask of zeros and ones keeps; None for a mask of another form, or one that keeps all or nothing.

    The mask has its weight's shape.
    """
    kept = mask.bool()
    if mask.ndim == 0 or not bool(((mask == 0) | (mask == 1)).all()) or bool(kept.all()) or not bool(kept.any()):
        return None
    for axis in range(mask.ndim):
        others = [a for a in range(mask.ndim) if a != axis]
        along = kept.amax(others) if others else kept
        if bool((kept == along.view([-1 if a == axis else 1 for a in range(mask.ndim)])).all()):
            return WeightSlice(axis, torch.nonzero(along).flatten().to(mask.device))
    return None
