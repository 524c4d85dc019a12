"""What the kernels of a fused update are given: where everything lies, and the update's constants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..kernel import kernel_of, vectors_of
from ..philox import StackedPhilox
from ..settings import SamplerConfig
from ..target.space import FlatSpace

METHODS = {"sgmcmc_sgld": 0, "rmsprop_sgld": 1, "sgnht": 2}
"""Sampling methods whose update the kernel knows, and its number for each."""
TILE = 4096
"""Weights of one program. Tiles do not depend on how the vector is cut into larger stretches, and neither does any sum."""
CHUNK = 1024
"""Weights that a program has in registers at once: eight a thread, so that several programs share a multiprocessor."""
_ALIGNED = 16


class Scalars(NamedTuple):
    """Factors of an update's terms, as `sgld`, `rmsprop_sgld` and `sgnht` have them; 0 where there is no such term."""

    noise: float
    gradient: float
    pull: float
    decay: float
    half: float
    alpha: float
    rest: float
    delta: float
    box: float


def scalars_of(config: SamplerConfig) -> Scalars:
    """The factors of one method's terms."""
    lr, box = config.lr, config.bounding_box_size or 0.0
    own = {**kernel_of(config.sampling_method).SETTINGS, **config.sampling_method_kwargs}
    if config.sampling_method == "sgnht":
        noise = math.sqrt(2 * own["diffusion_factor"] * lr) * config.noise_level
        return Scalars(noise, -lr * config.n_beta, -lr * config.localization, -lr * config.llc_weight_decay, 0.0, 0.0, 0.0, 0.0, box)
    noise = math.sqrt(lr) * config.noise_level
    if config.sampling_method == "rmsprop_sgld":
        alpha = own["alpha"]
        return Scalars(noise, config.n_beta, config.localization, config.llc_weight_decay, -lr / 2, alpha, 1 - alpha, own["eps"], box)
    half = -lr / 2
    return Scalars(noise, half * config.n_beta, half * config.localization, half * config.llc_weight_decay, 0.0, 0.0, 0.0, 0.0, box)


@dataclass(frozen=True)
class UpdatePlan:
    """All of it on one device. C chains of `size` weights, S segments (the space's blocks), T tiles.

    first, second: the sampler's own vectors, in the order of its state; the weights where it has none. published: the copy that the model
    computes with, in its own type; the weights where it computes with those. A segment is (start, length, address of w0, address of its
    mask; 0 where none has one); where: each tile's segment, and its offset in there. squares and norms hold |g|², |w - w0|² and |v|² and
    their roots; an overflow or a number that is none anywhere makes them infinite or NaN. heat: |v|² / n - lr, by which SGNHT's friction
    grows; thermal: n, how many weights move, and lr.
    """

    method: int
    scalars: Scalars
    boxed: bool
    masked: bool
    weights: Float[Tensor, "C size"]
    first: Float[Tensor, "C size"]
    second: Float[Tensor, "C size"]
    published: Tensor
    segments: Int[Tensor, "S 4"]
    where: Int[Tensor, "T 2"]
    keys: Int[Tensor, " C"]
    lasts: Int[Tensor, " C"]
    partials: Float[Tensor, "C 3 T"]
    squares: Float[Tensor, "C 3"]
    norms: Float[Tensor, "C 3"]
    heat: Float[Tensor, "C 3"]
    thermal: Float[Tensor, " 2"]
    gradient_type: str
    gradient_stride: int
    kept: Sequence[Tensor]
    """What the addresses point into."""

    @property
    def tiles(self) -> int:
        """Tiles of one chain."""
        return int(self.where.shape[0])

    @property
    def couples(self) -> bool:
        """Whether the update is done only when all coordinates are known (SGNHT's friction)."""
        return self.method == METHODS["sgnht"]


def aligned(values: Tensor) -> Tensor:
    """The values where a kernel may read 16 bytes at once; a copy where they lie elsewhere. Same shape."""
    flat = values.reshape(-1)
    return flat if flat.data_ptr() % _ALIGNED == 0 else flat.clone()


def _masks(space: FlatSpace) -> list[Tensor]:
    """Each block's mask; those without one share ones where others have one, and have none where no block has."""
    without = [block.stop - block.start for block in space.blocks if block.mask is None]
    some = len(without) < len(space.blocks)
    ones = torch.ones(max(without, default=0) if some else 0, device=space.device)
    return [ones if block.mask is None else aligned(block.mask) for block in space.blocks]


def plan_of(
    space: FlatSpace,
    config: SamplerConfig,
    weights: Float[Tensor, "C size"],
    vectors: Mapping[str, Float[Tensor, "C size"]],
    noise: StackedPhilox,
    published: Tensor | None,
    gradient_type: torch.dtype,
    gradient_stride: int,
) -> UpdatePlan:
    """The plan of an update of these weights. gradient_stride: elements from one chain's gradient to the next one's."""
    anchors = [aligned(space.anchor_at(block)) for block in space.blocks]
    masks = _masks(space)
    segments = [
        [b.start, b.stop - b.start, anchor.data_ptr(), mask.data_ptr() if mask.numel() else 0]
        for b, anchor, mask in zip(space.blocks, anchors, masks, strict=True)
    ]
    where = [[index, offset] for index, (_, length, *_) in enumerate(segments) for offset in range(0, length, TILE)]
    device, chains = weights.device, weights.shape[0]
    own = [vectors[name] for name in vectors_of(config.sampling_method)]
    first, second = (*own, weights, weights)[:2]
    return UpdatePlan(
        METHODS[config.sampling_method],
        scalars_of(config),
        config.bounding_box_size is not None,
        any(block.mask is not None for block in space.blocks),
        weights,
        first,
        second,
        weights if published is None else published,
        torch.tensor(segments, device=device),
        torch.tensor(where, device=device),
        noise.keys,
        noise.lasts,
        torch.zeros(chains, 3, len(where), device=device),
        torch.zeros(chains, 3, device=device),
        torch.zeros(chains, 3, device=device),
        torch.zeros(chains, 3, device=device),
        torch.tensor([space.numel, config.lr], dtype=torch.float64, device=device),
        str(gradient_type).removeprefix("torch."),
        gradient_stride,
        [*anchors, *masks],
    )
