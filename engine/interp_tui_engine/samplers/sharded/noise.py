"""A chain's noise at the elements that lie here: the numbers of the whole chain's, wherever its elements are.

Philox's numbers are a function of (seed, chain, step, element), where the element is counted in the flat vector of the whole model. A
part of that vector begins and ends anywhere; Philox makes four numbers from a counter, so the fours that a part cuts are made whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ..philox import PhiloxSource

Segment = tuple[int, int, int]
"""(start in the block, stop in the block, element of the whole vector at its start)."""


@final
class ShardedNoise:
    """The noise of one chain in one stream, with the interface of `noise.Noise`. segments: where each block's parts lie in the whole."""

    def __init__(self, seed: int, chain: int, segments: Sequence[Sequence[Segment]], stream: str) -> None:
        self._source = PhiloxSource(seed, chain, [], stream)
        self._segments = segments

    def fill(self, out: Float[Tensor, " n"], step: int, block: int) -> Float[Tensor, " n"]:
        """Overwrite `out` with N(0, 1): 0 between parameters, where nothing moves."""
        covered = sum(stop - start for start, stop, _ in self._segments[block])
        if covered < out.shape[0]:
            out.zero_()
        for start, stop, element in self._segments[block]:
            before = element % 4
            if before == 0:
                self._source.fill_from(out[start:stop], element, step)
            else:
                whole = torch.empty(before + stop - start, device=out.device)
                out[start:stop] = self._source.fill_from(whole, element - before, step)[before:]
        return out
