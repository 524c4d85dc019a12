"""Gated: one path decides which latents fire, another how strongly (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import Architecture, Pass, preactivations, squared_error
from .names import Sparsity
from .sparse import Codes, from_dense
from .weights import Weights

ARCHITECTURE = "gated"
SETTINGS = {"l1": 0.01}


@dataclass(frozen=True)
class Gated(Architecture):
    """z = H(π)·ReLU(e^{r_mag}·W_enc(x − b_dec) + b_mag), π = W_enc(x − b_dec) + b_enc.

    loss ‖x − x̂‖² + l1·Σ ReLU(π) + ‖x − x̂_gate‖², where x̂_gate decodes ReLU(π) with the decoder held fixed: the L1 shrinks the gate's
    own reconstruction, not the magnitudes, and the last term gives the gate, whose step has no gradient, something to learn from.
    """

    l1: float
    name: ClassVar[str] = ARCHITECTURE
    stored_as: ClassVar[str] = "gated"
    tensors: ClassVar[Mapping[str, str]] = {
        **{"W_enc": "encoder", "b_gate": "b_enc", "W_dec": "decoder", "b_dec": "b_dec"},
        **{"r_mag": "r_mag", "b_mag": "b_mag"},
    }
    trained: ClassVar[tuple[str, ...]] = ("encoder", "b_enc", "decoder", "b_dec", "r_mag", "b_mag")
    revives_dead: ClassVar[bool] = False

    @classmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        return cls(sparsity.l1)

    @classmethod
    def restored(cls, config: Mapping[str, Any], ours: Mapping[str, Any]) -> Architecture | None:
        return cls(l1=math.nan)  # what only training knew

    def begin(self, weights: Weights) -> Weights:
        return replace(weights, r_mag=torch.zeros_like(weights.b_enc), b_mag=torch.zeros_like(weights.b_enc))

    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        gate_BM = preactivations(weights, x_BD)
        codes_BM = gated_codes(weights, gate_BM)
        reconstruction_BD = codes_BM @ weights.decoder + weights.b_dec
        error = squared_error(x_BD, reconstruction_BD)
        soft_BM = gate_BM.relu()
        of_gate_BD = soft_BM @ weights.decoder.detach() + weights.b_dec.detach()
        loss = error + self.l1 * pressure * soft_BM.float().sum(1).mean() + squared_error(x_BD, of_gate_BD)
        return Pass(reconstruction_BD, loss, error, (codes_BM.detach() > 0).sum(0).float())

    @torch.no_grad()
    def encode(self, weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
        return from_dense(gated_codes(weights, preactivations(weights, x_BD).float()))


def gated_codes(weights: Weights, gate_BM: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
    """The codes of gate pre-activations π: the magnitude path shares its product, being e^{r_mag}·(π − b_enc) + b_mag."""
    assert weights.r_mag is not None and weights.b_mag is not None
    magnitude_BM = weights.r_mag.exp() * (gate_BM - weights.b_enc) + weights.b_mag
    return (gate_BM > 0) * magnitude_BM.relu()
