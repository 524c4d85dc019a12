"""TopK: each input keeps its k largest pre-activations (Gao et al. 2024, arXiv 2406.04093; Makhzani & Frey 2013)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .architecture import Architecture, Pass, preactivations, squared_error
from .names import Sparsity
from .sparse import Codes, Pattern, attach_encoder, decode
from .weights import Weights

AT_ONCE = 1 << 27
"""Pre-activations made at once on an accelerator: 512 MiB in float32."""
BLOCK = 1 << 22
"""Pre-activations made at once on a CPU: what the allocator hands out again without asking the system for pages (16 MiB)."""


ARCHITECTURE = "topk"
SETTINGS = {"k": 32}


@dataclass(frozen=True)
class TopK(Architecture):
    """z = ReLU(TopK_k(W_enc(x − b_dec) + b_enc)), loss ‖x − x̂‖². Gradients reach the kept entries alone, so they are sparse."""

    k: int
    name: ClassVar[str] = ARCHITECTURE
    stored_as: ClassVar[str] = "topk"

    @classmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        return cls(sparsity.k)

    @classmethod
    def restored(cls, config: Mapping[str, Any], ours: Mapping[str, Any]) -> Architecture | None:
        k, latents = config.get("k"), config["d_sae"]
        if type(k) is not int or not 1 <= k <= latents:
            raise ValueError(f"k = {k!r}; k must be from 1 to d_sae = {latents}")
        return cls(k)

    def stored_settings(self) -> dict[str, Any]:
        return {"k": self.k, "rescale_acts_by_decoder_norm": False}

    def begin(self, weights: Weights) -> Weights:
        return weights

    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        with torch.no_grad():
            picked_N, pattern = top_entries(weights, x_BD, self.k)
            centred_BD = x_BD - weights.b_dec
        codes = Codes(attach_encoder(picked_N, pattern, centred_BD, weights.encoder, weights.b_enc, weights.b_dec).relu(), pattern)
        reconstruction_BD = decode(codes, weights.decoder) + weights.b_dec
        error = squared_error(x_BD, reconstruction_BD)
        return Pass(reconstruction_BD, error, error, fired(codes))

    @torch.no_grad()
    def encode(self, weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
        picked_N, pattern = top_entries(weights, x_BD, self.k)
        return Codes(picked_N.relu(), pattern)


def top_entries(weights: Weights, x_BD: Float[Tensor, "b d"], k: int) -> tuple[Float[Tensor, " n"], Pattern]:
    """The k largest pre-activations of each input, in float32, and where they are."""
    if x_BD.device.type == "cpu":
        parts_top = [
            preactivations(weights, part_BD).topk(k, dim=1, sorted=False) for part_BD in torch.split(x_BD, max(1, BLOCK // weights.latents))
        ]
        values_BK, latents_BK = torch.cat([part.values for part in parts_top]), torch.cat([part.indices for part in parts_top])
    else:
        values_BK, latents_BK = top_of_groups(weights, x_BD, k)
    offsets = torch.arange(0, values_BK.numel() + 1, k, device=x_BD.device)
    return values_BK.reshape(-1).float(), Pattern(latents_BK.reshape(-1), offsets, weights.latents)


def top_of_groups(
    weights: Weights, x_BD: Float[Tensor, "b d"], k: int, at_once: int = AT_ONCE
) -> tuple[Float[Tensor, "b k"], Int[Tensor, "b k"]]:
    """The k largest pre-activations and their latents, by groups of latents: only one group's and the best so far are held."""
    best: tuple[Tensor, Tensor] | None = None
    for start, hidden_BG in grouped_preactivations(weights, x_BD, at_once):
        top = hidden_BG.topk(min(k, hidden_BG.shape[1]), dim=1, sorted=False)
        values, latents = top.values, top.indices + start
        if best is not None:
            values, latents = torch.cat([best[0], values], dim=1), torch.cat([best[1], latents], dim=1)
        if values.shape[1] > k:
            kept = values.topk(k, dim=1, sorted=False)
            values, latents = kept.values, latents.gather(1, kept.indices)
        best = values, latents
    assert best is not None, "a dictionary has latents"
    return best


def grouped_preactivations(weights: Weights, x_BD: Float[Tensor, "b d"], at_once: int) -> Iterator[tuple[int, Float[Tensor, "b g"]]]:
    """Pre-activations of some latents after others, at most `at_once` numbers a group, each with its first latent."""
    group = max(1, at_once // max(1, x_BD.shape[0]))
    centred_BD = x_BD - weights.b_dec
    for start in range(0, weights.latents, group):
        here = slice(start, start + group)
        yield start, F.linear(centred_BD, weights.encoder[here], weights.b_enc[here])


def fired(codes: Codes) -> Float[Tensor, " m"]:
    """How many inputs each latent is active on. A kept entry that is not positive does not fire."""
    active = (codes.values.detach() > 0).float()
    counts = torch.zeros(codes.pattern.width, device=active.device)
    return counts.index_add_(
        0, codes.pattern.latents, active
    )  # whole numbers: the same in any order; a weighted bincount is refused on CUDA
