"""The weights a sampler moves, as one flat float32 vector per chain.

Layout: small parameters first, packed one after another at 64-byte boundaries, then the large ones. The packed part has one flat
gradient that autograd accumulates into; a large parameter's gradient is the tensor that autograd made, taken as it is, which saves a
pass of zeroing and one of adding over memory. Updates run block by block, each block inside one part.

A model in bfloat16 or float16 computes with its own low-precision copy; the chain's vector is the float32 master.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import UserError
from ..noise import Noise, NoiseName, noise_source
from .space import FlatSpace, ParameterBlock, Slot, block_size, laid_out

Masks = Mapping[str, Tensor | None]
"""Parameter name to a mask of its shape, or None for all of it. Parameters not named stay fixed."""

_LONG_PASS = 1 << 24
"""Parameters from which on a pass takes long enough to be interrupted; below, calls into Python would be felt."""


def _chosen(parameters: Mapping[str, Tensor], masks: Masks | None, may_be_still: bool) -> dict[str, Tensor | None]:
    if masks is None:
        return dict.fromkeys(parameters)
    for name, mask in masks.items():
        if name not in parameters:
            raise UserError(f"mask names {name!r}, which is no parameter of the model", f"Parameters: {', '.join(list(parameters)[:8])}, …")
        if mask is not None and mask.shape != parameters[name].shape:
            raise UserError(f"mask of {name!r} has shape {tuple(mask.shape)}", f"The parameter has shape {tuple(parameters[name].shape)}.")
    chosen = {name: masks[name] for name in parameters if name in masks}
    if may_be_still:
        return chosen
    if not chosen or all(m is not None and not bool(m.any()) for m in chosen.values()):
        raise UserError("the mask selects no parameter, so there is nothing to sample")
    return chosen


@final
class ParameterSpace:
    """Names, layout, anchor w0 and masks of the sampled parameters; shared by all chains, never written after construction.

    The anchor of a large float32 parameter is the tensor given, not a copy, so that one must stay as it is too.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], masks: Masks | None, computes_in: torch.dtype | None = None, *, may_be_still: bool = False
    ) -> None:
        """computes_in: the dtype of what models compute with, where it is not that of the parameters."""
        chosen = _chosen(parameters, masks, may_be_still)
        first = parameters[next(iter(chosen))]
        for name in chosen:
            if not parameters[name].is_floating_point():
                raise UserError(f"parameter {name!r} is {parameters[name].dtype}, which cannot be sampled")
        self.device, self.dtype = first.device, computes_in or first.dtype
        block = block_size(self.device)
        self.slots, self.size, self.packed = laid_out({name: parameters[name].shape for name in chosen}, block)
        packed = self.packed
        self._packed_anchor = torch.zeros(packed, dtype=torch.float32, device=self.device)
        self._anchors: dict[Slot, Tensor] = {}
        for slot in self.slots:
            values = parameters[slot.name].detach().reshape(-1)
            if slot.start < packed:
                self._packed_anchor[slot.start : slot.stop] = values
            else:
                self._anchors[slot] = (
                    values.float()
                )  # in float32 it is the parameter itself: a second copy would be a model's worth of memory
        self.blocks = tuple(self._cut(block, chosen))
        self.starts = tuple(b.start for b in self.blocks)
        counts = (parameters[name].numel() if mask is None else int(mask.count_nonzero()) for name, mask in chosen.items())
        self.numel = sum(counts)

    @property
    def part(self) -> str:
        """Which part of the sampled parameters this is; empty for all of them."""
        return ""

    @property
    def first(self) -> bool:
        """Whether this part stands for what all parts have alike."""
        return True

    def weights(self) -> ChainWeights:
        """A chain's weights, at w0."""
        return ChainWeights(self)

    def noise(self, name: NoiseName, seed: int, chain: int, stream: str) -> Noise:
        """The noise of a chain in a stream, block by block."""
        return noise_source(name, seed, chain, self.starts, stream, self.device)

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over this part of the parameters as sums over all of them."""
        return values

    def newest_common(self, steps: Sequence[int]) -> int | None:
        """The last of these steps that every part has: of one part, the last."""
        return max(steps, default=None)

    def _cut(self, block: int, chosen: Mapping[str, Tensor | None]) -> Iterator[ParameterBlock]:
        parts = [(None, 0, self.packed)] if self.packed else []
        large = [(slot, slot.start, slot.stop) for slot in self.slots if slot.start >= self.packed]
        index = 0
        for owner, begin, end in [*parts, *large]:
            mask = self._mask_of(begin, end, chosen)
            for start in range(begin, end, block):
                stop = min(start + block, end)
                part = None if mask is None else mask[start - begin : stop - begin]
                if part is not None and bool(part.all()):
                    part = None
                yield ParameterBlock(index, start, stop, owner, part)
                index += 1

    def _mask_of(self, begin: int, end: int, chosen: Mapping[str, Tensor | None]) -> Tensor | None:
        inside = [slot for slot in self.slots if begin <= slot.start < end]
        if all(chosen[slot.name] is None for slot in inside) and sum(slot.stop - slot.start for slot in inside) == end - begin:
            return None
        mask = torch.zeros(end - begin, device=self.device)  # 0 between parameters too, where alignment leaves gaps
        for slot in inside:
            given = chosen[slot.name]
            value = 1.0 if given is None else given.to(self.device, torch.float32).reshape(-1)
            mask[slot.start - begin : slot.stop - begin] = value
        return mask

    def mask(self) -> Float[Tensor, " size"] | None:
        """1 where a number of the flat vector may move, 0 where not and in the gaps between parameters; None where all may."""
        if all(b.mask is None for b in self.blocks) and self.blocks[-1].stop == self.size == sum(s.stop - s.start for s in self.slots):
            return None
        mask = torch.zeros(self.size, device=self.device)
        for b in self.blocks:
            mask[b.start : b.stop] = 1.0 if b.mask is None else b.mask
        return mask

    def anchor_at(self, block: ParameterBlock) -> Float[Tensor, " p"]:
        """w0 in one block. Not to be written to: it may be the model's own memory."""
        if block.slot is None:
            return self._packed_anchor[block.start : block.stop]
        return self._anchors[block.slot][block.start - block.slot.start : block.stop - block.slot.start]

    def anchors(self) -> dict[str, Tensor]:
        """w0 by parameter, in float32. Not to be written to: a large one may be the model's own memory. Each has its parameter's shape."""
        return {s.name: self._anchors.get(s, self._packed_anchor[s.start : s.stop]).view(s.shape) for s in self.slots}

    def anchor(self) -> Float[Tensor, " size"]:
        """w0 as a flat vector of its own; 0 in the gaps between parameters."""
        flat = torch.zeros(self.size, dtype=torch.float32, device=self.device)
        flat[: self.packed] = self._packed_anchor
        for slot, values in self._anchors.items():
            flat[slot.start : slot.stop] = values
        return flat

    def views(self, flat: Float[Tensor, "*chains size"]) -> dict[str, Tensor]:
        """The parameters inside a flat vector, or inside a stack of them.

        Each has its parameter's shape, behind the axis of chains where there is one.
        """
        return {s.name: flat[..., s.start : s.stop].view(*flat.shape[:-1], *s.shape) for s in self.slots}


@final
class ChainWeights:
    """One chain's weights: the flat vector, the leaf tensors a model computes with, and their gradients."""

    def __init__(self, space: FlatSpace) -> None:
        self.space = space
        self.flat = space.anchor()
        self._model_flat = self.flat if space.dtype == torch.float32 else self.flat.to(space.dtype)
        self._packed_gradient = torch.zeros(space.packed, dtype=space.dtype, device=space.device)
        self.leaves: dict[str, Tensor] = {name: nn.Parameter(view) for name, view in space.views(self._model_flat).items()}
        for slot in space.slots:
            if slot.start < space.packed:
                self.leaves[slot.name].grad = self._packed_gradient[slot.start : slot.stop].view(slot.shape)

    def call_while_differentiating(self, look: Callable[[], None]) -> None:
        """Have `look` called in the middle of a backward pass, each time a large parameter of a large model has its gradient.

        It may raise: the pass ends with what it raises. Also without that, a pass of seconds comes back to Python here, where a signal can
        interrupt it.
        """
        if self.space.size >= _LONG_PASS:
            for slot in self.space.slots:
                if slot.start >= self.space.packed:
                    self.leaves[slot.name].register_post_accumulate_grad_hook(lambda _: look())  # type: ignore[no-untyped-call]

    def zero_gradients(self) -> None:
        """Forget the gradients; those of large parameters give their memory back."""
        self._packed_gradient.zero_()
        for slot in self.space.slots:
            if slot.start >= self.space.packed:
                self.leaves[slot.name].grad = None

    @property
    def published(self) -> Tensor | None:
        """The flat vector that the model computes with, in its type; None where that is the chain's own."""
        return None if self._model_flat is self.flat else self._model_flat

    def gradients_as_made(self) -> Iterator[tuple[ParameterBlock, Tensor | None]]:
        """Each block with its gradient in the model's type; None where the loss does not depend on the parameter."""
        large: Tensor | None = None
        owner: Slot | None = None
        for block in self.space.blocks:
            gradient: Tensor | None
            if block.slot is None:
                gradient = self._packed_gradient[block.start : block.stop]
            else:
                if block.slot is not owner:
                    owner, grad = block.slot, self.leaves[block.slot.name].grad
                    large = None if grad is None else grad.reshape(-1)
                gradient = None if large is None else large[block.start - block.slot.start : block.stop - block.slot.start]
            yield block, gradient

    def gradients(self) -> Iterator[tuple[ParameterBlock, Float[Tensor, " p"]]]:
        """Each block with its gradient in float32."""
        for block, gradient in self.gradients_as_made():
            if gradient is None:
                yield block, torch.zeros(block.stop - block.start, device=self.space.device)
            else:
                yield block, gradient if gradient.dtype == torch.float32 else gradient.float()

    def publish(self, block: ParameterBlock) -> None:
        """Make an update of the flat vector visible to the model: a copy when it computes in lower precision, else nothing."""
        if self._model_flat is not self.flat:
            self._model_flat[block.start : block.stop].copy_(self.flat[block.start : block.stop])

    def load(self, flat: Float[Tensor, " size"]) -> None:
        """Set all weights."""
        self.flat.copy_(flat)
        for block in self.space.blocks:
            self.publish(block)


def named_parameters(module: nn.Module, masks: Masks | None) -> tuple[dict[str, Tensor], Masks | None]:
    """A module's parameters, tied ones once, and the masks with tied names resolved (either name reaches the one parameter)."""
    unique = dict(module.named_parameters())
    if masks is None:
        return dict(unique), None
    canonical = {id(p): name for name, p in unique.items()}
    every = dict(module.named_parameters(remove_duplicate=False))
    resolved: dict[str, Tensor | None] = {}
    for name, mask in masks.items():
        target = canonical[id(every[name])] if name in every else name
        if target in resolved:  # both names of a tied parameter: the union
            other = resolved[target]
            mask = None if mask is None or other is None else (mask.bool() | other.bool())
        resolved[target] = mask
    return dict(unique), resolved
