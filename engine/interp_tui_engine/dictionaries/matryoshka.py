"""Matryoshka: nested dictionaries, each prefix of the latents must reconstruct by itself (Bussmann et al. 2025, arXiv 2503.17547)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import Pass, squared_error
from .batch_topk import BatchTopK, batch_codes, smallest
from .names import Sparsity
from .sparse import Codes, decode
from .topk import fired
from .weights import Weights

ARCHITECTURE = "matryoshka"
SETTINGS = {"k": 32, "prefixes": 4}


@dataclass(frozen=True)
class Matryoshka(BatchTopK):
    """BatchTopK codes; loss = mean over prefixes m₁ < … < m_G = M of ‖x − x̂^(m_g)‖², x̂^(m) decoding the first m latents alone.

    The first latents must explain all they can, which keeps general features from being absorbed into special ones. Prefixes are
    decoded group by group and summed, so all of them cost one decoding.
    """

    prefixes: tuple[int, ...]
    """Widths of the nested dictionaries, increasing; the last is all latents."""
    name: ClassVar[str] = ARCHITECTURE

    @classmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        return cls(sparsity.k, halving_prefixes(latents, sparsity.prefixes))

    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        codes = batch_codes(weights, x_BD, self.k)
        reconstruction_BD = weights.b_dec.expand_as(x_BD)
        errors = []
        for start, stop in pairwise((0, *self.prefixes)):
            chosen_N = (codes.pattern.latents >= start) & (codes.pattern.latents < stop)
            group = Codes(codes.values[chosen_N], codes.pattern.where(chosen_N))
            reconstruction_BD = reconstruction_BD + decode(group, weights.decoder)
            errors.append(squared_error(x_BD, reconstruction_BD))
        return Pass(reconstruction_BD, torch.stack(errors).mean(), errors[-1], fired(codes), smallest(codes))


def halving_prefixes(latents: int, count: int) -> tuple[int, ...]:
    """`count` prefixes, each half of the next, down to no fewer than one latent: 64, 128, 256, 512 of 512."""
    return tuple(sorted({max(1, latents >> step) for step in range(count)}))
