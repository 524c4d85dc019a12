"""ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity"; Cunningham et al. 2023, arXiv 2309.08600)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import Architecture, Pass, preactivations, squared_error
from .names import Sparsity
from .sparse import Codes, from_dense
from .weights import Weights

ARCHITECTURE = "relu"
SETTINGS = {"l1": 0.01}


@dataclass(frozen=True)
class ReluL1(Architecture):
    """z = ReLU(W_enc(x − b_dec) + b_enc), loss ‖x − x̂‖² + l1·Σ_j z_j. With unit decoder rows Σ z_j is Σ z_j‖d_j‖."""

    l1: float
    name: ClassVar[str] = ARCHITECTURE
    stored_as: ClassVar[str] = "standard"
    revives_dead: ClassVar[bool] = False

    @classmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        return cls(sparsity.l1)

    @classmethod
    def restored(cls, config: Mapping[str, Any], ours: Mapping[str, Any]) -> Architecture | None:
        return cls(l1=math.nan)  # what only training knew

    def begin(self, weights: Weights) -> Weights:
        return weights

    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        codes_BM = preactivations(weights, x_BD).relu()
        reconstruction_BD = codes_BM @ weights.decoder + weights.b_dec
        error = squared_error(x_BD, reconstruction_BD)
        penalty = self.l1 * pressure * codes_BM.float().sum(1).mean()
        return Pass(reconstruction_BD, error + penalty, error, (codes_BM.detach() > 0).sum(0).float())

    @torch.no_grad()
    def encode(self, weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
        return from_dense(preactivations(weights, x_BD).float().relu())
