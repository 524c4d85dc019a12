"""The part of the sampled parameters that lies on this rank, laid out as the whole is: what a chain there moves.

FSDP2 cuts every parameter along its first dimension. This rank's rows of each are one flat float32 vector with blocks, anchors and masks of
its own (a `ParameterSpace`); only three things know of the others: the noise, which counts elements in the whole vector, the number of
elements, and sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ...errors import UserError
from ...models.sharding import ShardedRows
from ..noise import Noise, NoiseName
from ..target.parameters import ChainWeights, Masks, ParameterSpace
from ..target.space import ParameterBlock, Slot, block_size, laid_out
from ..target.weight_slice import WeightSlice
from .noise import Segment, ShardedNoise
from .ranks import Ranks


@final
class ShardedSpace:
    """As `ParameterSpace`, of the rows that lie here. `rows` are a module's after fully_shard; masks have the shapes of the whole.

    slices: the parameters of which only rows or columns move (`weight_slice`). As on one device, these alone are in the space.
    """

    def __init__(self, rows: ShardedRows, masks: Masks | None, ranks: Ranks, slices: Mapping[str, WeightSlice] | None = None) -> None:
        self.ranks, self.parameters = ranks, rows.parameters
        parameters = rows.parameters
        chosen = dict.fromkeys(parameters) if masks is None else {name: masks[name] for name in parameters if name in masks}
        slices = slices or {}
        _all_move_something({name: parameters[name].shape[0] for name in chosen}, slices, ranks.count)
        spans = {name: rows_here(parameters[name], ranks) for name in chosen}
        local = {name: parameters[name].to_local().detach() for name in chosen}
        # what the module computes with is w0 itself, unless the module's own tensors are to be overwritten
        local = {name: value if rows.lent(name) else value.float().clone() for name, value in local.items()}
        self.slices = {name: part.within(spans[name]) for name, part in slices.items()}
        local |= {name: part.take(local[name].float()) for name, part in self.slices.items()}
        chosen |= dict.fromkeys(slices)
        # masks that move nothing here may move something elsewhere, so that every parameter here is told what moves of it
        here = {name: None if mask is None else mask[spans[name]] for name, mask in chosen.items()}
        self._own = ParameterSpace(local, here if masks is not None else None, may_be_still=True)
        own = self._own
        self.device, self.dtype = own.device, next(iter(parameters.values())).dtype
        self.slots, self.size, self.packed, self.blocks, self.starts = own.slots, own.size, own.packed, own.blocks, own.starts
        whole = {name: slices[name].shape(parameters[name].shape) if name in slices else parameters[name].shape for name in chosen}
        before = {name: slices[name].rows_before(span.start) if name in slices else span.start for name, span in spans.items()}
        self.numel = sum(whole[name].numel() if mask is None else int(mask.count_nonzero()) for name, mask in chosen.items())
        slots, _, _ = laid_out(whole, block_size(self.device))
        first = {slot.name: slot.start + before[slot.name] * (slot.stop - slot.start) // max(1, slot.shape[0]) for slot in slots}
        self._segments = [list(_segments(block, own.slots, first)) for block in own.blocks]

    @property
    def part(self) -> str:
        return f"rank {self.ranks.rank} of {self.ranks.count}"

    def weights(self) -> ShardedWeights:
        return ShardedWeights(self)

    def noise(self, name: NoiseName, seed: int, chain: int, stream: str) -> Noise:
        """Philox's, whatever `name` says: no other numbers are the same on one rank and on many."""
        return ShardedNoise(seed, chain, self._segments, stream)

    @property
    def first(self) -> bool:
        return self.ranks.rank == 0

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.ranks.total(values)

    def newest_common(self, steps: Sequence[int]) -> int | None:
        common = set.intersection(*map(set, self.ranks.everyones(steps)))
        return max(common, default=None)

    def anchor_at(self, block: ParameterBlock) -> Float[Tensor, " p"]:
        return self._own.anchor_at(block)

    def anchors(self) -> dict[str, Tensor]:
        return self._own.anchors()

    def mask(self) -> Float[Tensor, " size"] | None:
        return self._own.mask()

    def anchor(self) -> Float[Tensor, " size"]:
        return self._own.anchor()

    def views(self, flat: Float[Tensor, "*chains size"]) -> dict[str, Tensor]:
        return self._own.views(flat)


def _all_move_something(rows: Mapping[str, int], slices: Mapping[str, WeightSlice], ranks: int) -> None:
    """Raise UserError, on every rank, where one of them would hold nothing that moves. rows: first dimensions."""

    def moving(name: str, rank: int) -> int:
        here = _rows_of(rows[name], rank, ranks)
        part = slices.get(name)
        return here.stop - here.start if part is None else part.rows_before(here.stop) - part.rows_before(here.start)

    if any(not any(moving(name, rank) for name in rows) for rank in range(ranks)):
        what = f"what moves lies on fewer than the {ranks} devices that share the model: each has its part of the rows of every weight"
        raise UserError(what, "use compute.gpus_per_worker = 1, or a larger restriction")


def _rows_of(rows: int, rank: int, ranks: int) -> slice:
    """FSDP2 cuts as torch.chunk does."""
    share = -(-rows // ranks)
    return slice(min(rows, rank * share), min(rows, (rank + 1) * share))


def rows_here(parameter: DTensor, ranks: Ranks) -> slice:
    """Which rows of a parameter lie on this rank."""
    here = _rows_of(parameter.shape[0], ranks.rank, ranks.count)
    assert parameter.to_local().shape[0] == here.stop - here.start, "FSDP2 cuts another way"
    return here


def _segments(block: ParameterBlock, slots: tuple[Slot, ...], first: Mapping[str, int]) -> Iterator[Segment]:
    """The parts of one block, each with the element of the whole vector that it begins at."""
    for slot in slots:
        start, stop = max(block.start, slot.start), min(block.stop, slot.stop)
        if start < stop:
            yield start - block.start, stop - block.start, first[slot.name] + start - slot.start


@final
class ShardedWeights:
    """One chain's weights on this rank, with the interface of `ChainWeights`; gradients are those that FSDP2 has summed over the ranks."""

    def __init__(self, space: ShardedSpace) -> None:
        self.space = space
        self._own = ChainWeights(space)
        self.flat, self.leaves = self._own.flat, self._own.leaves

    def call_while_differentiating(self, look: Any) -> None:
        """Nothing is called: a rank that gave up a step alone would leave the others waiting for it."""

    def zero_gradients(self) -> None:
        self._own.zero_gradients()
        for parameter in self.space.parameters.values():
            parameter.grad = None

    def gradients(self) -> Iterator[tuple[ParameterBlock, Float[Tensor, " p"]]]:
        for slot in self.space.slots:
            gradient = self.space.parameters[slot.name].grad
            leaf = self.leaves[slot.name]
            if isinstance(gradient, DTensor):
                gradient = gradient.to_local()
            if gradient is not None and slot.name in self.space.slices:
                gradient = self.space.slices[slot.name].take(gradient)
            if slot.start < self.space.packed:
                assert leaf.grad is not None, "packed gradients are made once"
                leaf.grad.copy_(gradient) if gradient is not None else leaf.grad.zero_()
            else:
                leaf.grad = gradient
        return self._own.gradients()

    def publish(self, block: ParameterBlock) -> None:
        self._own.publish(block)

    def load(self, flat: Float[Tensor, " size"]) -> None:
        self._own.load(flat)


def freeze_others(module: nn.Module, names: Mapping[str, Any]) -> None:
    """Take no gradient of what does not move."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in names)
