"""A finished dictionary: its weights, how codes are made with them, and what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import Architecture, reconstruct
from .sparse import Codes
from .weights import Weights


@dataclass(frozen=True)
class Dictionary:
    """Codes of activations (…, D) as they are in the model. `about` holds model, hook_name, context_size and the like, where known."""

    architecture: Architecture
    weights: Weights
    about: Mapping[str, Any] = field(default_factory=dict)

    def codes(self, x_BD: Float[Tensor, "b d"]) -> Codes:
        """The active codes alone."""
        return self.architecture.encode(self.weights, x_BD)

    def encode(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch m"]:
        """The codes with their zeros."""
        dense: Tensor = self.codes(x.reshape(-1, self.weights.width).float()).dense()
        return dense.reshape(*x.shape[:-1], -1)

    @torch.no_grad()
    def decode(self, codes: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch d"]:
        """x̂ of codes."""
        return codes @ self.weights.decoder + self.weights.b_dec

    def reconstruct(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """x̂ of activations, in their dtype."""
        flat_BD = x.reshape(-1, self.weights.width).float()
        return reconstruct(self.weights, self.codes(flat_BD)).reshape(x.shape).to(x.dtype)

    def to(self, device: torch.device | str) -> Dictionary:
        """The same dictionary on a device."""
        return Dictionary(self.architecture, self.weights.map(lambda tensor: tensor.to(device)), self.about)
