"""What a chain knows of the parameters that it moves, whether all of them lie on one device or a part does; and how they are laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..noise import BLOCK, Noise, NoiseName

_ALIGN = 16  # float32 numbers in 64 bytes


class FlatSpace(Protocol):
    """What chains know of the parameters that they move: all of them, or the part of them that lies on this device."""

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def slots(self) -> tuple[Slot, ...]: ...
    @property
    def size(self) -> int:
        """Length of the flat vector here."""

    @property
    def packed(self) -> int: ...
    @property
    def blocks(self) -> tuple[ParameterBlock, ...]: ...
    @property
    def numel(self) -> int:
        """Elements that move, elsewhere too."""

    @property
    def part(self) -> str:
        """Which part of the sampled parameters this is; empty for all of them."""

    @property
    def first(self) -> bool:
        """Whether this part stands for what all parts have alike."""

    def weights(self) -> FlatWeights:
        """A chain's weights, at w0."""

    def noise(self, name: NoiseName, seed: int, chain: int, stream: str) -> Noise:
        """The noise of a chain in a stream, block by block."""

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over this part of the parameters as sums over all of them."""

    def newest_common(self, steps: Sequence[int]) -> int | None:
        """The last of these steps that every part has; None where there is none."""

    def anchor_at(self, block: ParameterBlock) -> Float[Tensor, " p"]:
        """w0 in one block. Not to be written to: it may be the model's own memory."""

    def anchors(self) -> dict[str, Tensor]:
        """w0 by parameter, in float32. Not to be written to."""

    def mask(self) -> Float[Tensor, " size"] | None:
        """1 where a number of the flat vector may move, 0 where not and in the gaps between parameters; None where all may."""

    def anchor(self) -> Float[Tensor, " size"]:
        """w0 as a flat vector of its own; 0 in the gaps between parameters."""

    def views(self, flat: Float[Tensor, "*chains size"]) -> dict[str, Tensor]:
        """The parameters inside a flat vector, or inside a stack of them."""


class FlatWeights(Protocol):
    """One chain's weights: the flat vector, the leaf tensors a model computes with, and their gradients."""

    @property
    def space(self) -> FlatSpace: ...
    @property
    def flat(self) -> Float[Tensor, " size"]: ...
    @property
    def leaves(self) -> dict[str, Tensor]: ...
    def call_while_differentiating(self, look: Callable[[], None]) -> None: ...
    def zero_gradients(self) -> None: ...
    def gradients(self) -> Iterator[tuple[ParameterBlock, Float[Tensor, " p"]]]: ...
    def publish(self, block: ParameterBlock) -> None: ...
    def load(self, flat: Float[Tensor, " size"]) -> None: ...


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies in the flat vector."""

    name: str
    shape: torch.Size
    start: int
    stop: int


@dataclass(frozen=True)
class ParameterBlock:
    """A stretch of the flat vector that is updated at once. `slot` is the large parameter it lies in; None in the packed part."""

    index: int
    start: int
    stop: int
    slot: Slot | None
    mask: Float[Tensor, " p"] | None


def block_size(device: torch.device) -> int:
    """Elements from which on a parameter is large, and that are updated at once."""
    return BLOCK if device.type == "cpu" else BLOCK << 8


def laid_out(shapes: Mapping[str, torch.Size], block: int) -> tuple[tuple[Slot, ...], int, int]:
    """Where each parameter lies in the flat vector, that one's length, and the length of its packed part."""
    order = sorted(shapes, key=lambda name: shapes[name].numel() >= block)  # stable: small ones first
    slots, offset, packed = [], 0, 0
    for name in order:
        n = shapes[name].numel()
        slots.append(Slot(name, shapes[name], offset, offset + n))
        offset += -(-n // _ALIGN) * _ALIGN
        packed = offset if n < block else packed
    return tuple(slots), offset, packed
