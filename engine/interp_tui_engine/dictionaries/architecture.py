"""What all dictionary architectures share: one forward pass to learn from, one to use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .sparse import Codes, gather_sum
from .weights import Weights


@dataclass(frozen=True)
class Pass:
    """One forward pass in training."""

    reconstruction: Float[Tensor, "b d"]
    loss: Float[Tensor, ""]
    """What is minimised but for AuxK: the reconstruction error, with the architecture's own sparsity terms."""
    error: Float[Tensor, ""]
    """‖x − x̂‖² summed over the width, averaged over the batch."""
    fired: Float[Tensor, " m"]
    """How many inputs of the batch each latent fired on."""
    smallest: Float[Tensor, ""] | None = None
    """The smallest active code, where a threshold is learnt from it."""


class Architecture(ABC):
    """How codes come from inputs and what is paid for them. Frozen; the tensors are in Weights."""

    name: ClassVar[str]
    trained: ClassVar[tuple[str, ...]] = ("encoder", "b_enc", "decoder", "b_dec")
    """The weights that gradients move."""
    revives_dead: ClassVar[bool] = True
    """Whether AuxK is part of the method as published."""

    @abstractmethod
    def begin(self, weights: Weights) -> Weights:
        """Freshly tied weights with the architecture's own tensors added."""

    @abstractmethod
    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        """The loss on a batch. `pressure`, 0 to 1, is how far the sparsity terms are warmed up."""

    @abstractmethod
    def encode(self, weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
        """Codes of a batch at use, each input on its own; no graph is made."""

    def settle(self, weights: Weights, done: Pass) -> None:
        """What the architecture changes after an optimiser step, in place; nothing unless it says otherwise."""
        return


def preactivations(weights: Weights, x_BD: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
    """h = W_enc(x − b_dec) + b_enc. b_dec is subtracted here, and nowhere else."""
    return F.linear(x_BD - weights.b_dec, weights.encoder, weights.b_enc)


def squared_error(x_BD: Float[Tensor, "b d"], reconstruction_BD: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Mean over the batch of ‖x − x̂‖², in float32."""
    return F.mse_loss(reconstruction_BD.float(), x_BD.float(), reduction="sum") / x_BD.shape[0]


def reconstruct(weights: Weights, codes: Codes) -> Float[Tensor, "b d"]:
    """x̂ of codes at use; no graph is made."""
    with torch.no_grad():
        return gather_sum(codes.values, codes.pattern, weights.decoder) + weights.b_dec
