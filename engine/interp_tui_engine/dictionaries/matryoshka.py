"""Matryoshka: nested dictionaries, each prefix of the latents must reconstruct by itself (Bussmann et al. 2025, arXiv 2503.17547)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import Pass, squared_error
from .batch_topk import BatchTopK, batch_codes, smallest
from .names import Sparsity
from .sparse import Codes, Pattern, decode, offsets_of
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
        for decoded_BD in self._decoded_groups(codes, weights.decoder):
            reconstruction_BD = reconstruction_BD + decoded_BD
            errors.append(squared_error(x_BD, reconstruction_BD))
        return Pass(reconstruction_BD, torch.stack(errors).mean(), errors[-1], fired(codes), smallest(codes))

    def _decoded_groups(self, codes: Codes, decoder_MD: Float[Tensor, "m d"]) -> Iterator[Float[Tensor, "b d"]]:
        """What the latents between two prefixes decode to, group by group."""
        pattern = codes.pattern
        if codes.values.device.type != "cpu":
            yield from self._decoded_at_once(codes, decoder_MD)
            return
        for start, stop in pairwise((0, *self.prefixes)):
            chosen_N = (pattern.latents >= start) & (pattern.latents < stop)
            yield decode(Codes(codes.values[chosen_N], pattern.where(chosen_N)), decoder_MD)

    def _decoded_at_once(self, codes: Codes, decoder_MD: Float[Tensor, "m d"]) -> Float[Tensor, "g b d"]:
        """The same as one product with a row for each group and input, sizes of groups unknown to the host."""
        pattern, groups = codes.pattern, len(self.prefixes)
        bounds = torch.tensor(self.prefixes[:-1]).to(pattern.latents.device, non_blocking=True)
        row_N = torch.bucketize(pattern.latents, bounds, right=True) * pattern.rows + pattern.row_of
        row_N, order = torch.sort(row_N, stable=True)
        split = Pattern(pattern.latents[order], offsets_of(row_N, groups * pattern.rows), pattern.width)
        return decode(Codes(codes.values.index_select(0, order), split), decoder_MD).view(groups, pattern.rows, -1)


def halving_prefixes(latents: int, count: int) -> tuple[int, ...]:
    """`count` prefixes, each half of the next, down to no fewer than one latent: 64, 128, 256, 512 of 512."""
    return tuple(sorted({max(1, latents >> step) for step in range(count)}))
