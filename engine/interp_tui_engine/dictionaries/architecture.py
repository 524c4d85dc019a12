"""What all dictionary architectures share: one forward pass to learn from, one to use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .names import Sparsity
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


STANDARD: Mapping[str, str] = {"W_enc": "encoder", "b_enc": "b_enc", "W_dec": "decoder", "b_dec": "b_dec"}


class Architecture(ABC):
    """How codes come from inputs and what is paid for them. Frozen; the tensors are in Weights."""

    name: ClassVar[str]
    trained: ClassVar[tuple[str, ...]] = ("encoder", "b_enc", "decoder", "b_dec")
    """The weights that gradients move."""
    revives_dead: ClassVar[bool] = True
    """Whether AuxK is part of the method as published."""
    stored_as: ClassVar[str]
    """What SAE Lens calls the architecture that this one is at use."""
    canonical: ClassVar[bool] = True
    """Whether a file of that name that says no more is read as this architecture."""
    tensors: ClassVar[Mapping[str, str]] = STANDARD
    """SAE Lens's name of each tensor, and the one in Weights."""

    @classmethod
    @abstractmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        """The architecture for a dictionary of that many latents."""

    @classmethod
    @abstractmethod
    def restored(cls, config: Mapping[str, Any], ours: Mapping[str, Any]) -> Architecture | None:
        """The architecture as a file's cfg.json and our own record in it describe it; None where they do not. Raises ValueError for a
        setting that cannot be."""

    def stored_settings(self) -> dict[str, Any]:
        """What cfg.json says beyond what all say."""
        return {}

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
