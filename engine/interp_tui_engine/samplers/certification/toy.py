"""Population losses whose learning coefficients are known, for many chains at once.

Shapes: c chains, p parameters. K is the loss above its minimum, in nats; every problem's anchor w0 is a minimum, K(w0) = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

import torch
from jaxtyping import Float
from torch import Tensor


class ToyLoss(Protocol):
    """A closed-form loss."""

    anchor: Float[Tensor, " p"]

    def loss(self, w: Float[Tensor, "c p"]) -> Float[Tensor, " c"]: ...

    def gradient(self, w: Float[Tensor, "c p"]) -> Float[Tensor, "c p"]: ...


@final
class Quadratic:
    """K = ½ Σ h_i w_i²."""

    def __init__(self, curvatures: Sequence[float]) -> None:
        self._h = torch.tensor(curvatures, dtype=torch.float32)
        self.anchor = torch.zeros(len(curvatures))

    def loss(self, w: Float[Tensor, "c p"]) -> Float[Tensor, " c"]:
        return (w.square() * self._h).sum(-1) / 2

    def gradient(self, w: Float[Tensor, "c p"]) -> Float[Tensor, "c p"]:
        return w * self._h


@final
class Monomial:
    """K = Π w_j^{2 k_j}, over the coordinates with k_j > 0 (the others are free and change nothing)."""

    def __init__(self, powers: Sequence[int]) -> None:
        self._k = [k for k in powers if k > 0]
        self.anchor = torch.zeros(len(self._k))

    def _factors(self, w: Tensor) -> list[Tensor]:
        return [w[:, j] ** (2 * k) for j, k in enumerate(self._k)]

    def loss(self, w: Float[Tensor, "c p"]) -> Float[Tensor, " c"]:
        return torch.stack(self._factors(w)).prod(0)

    def gradient(self, w: Float[Tensor, "c p"]) -> Float[Tensor, "c p"]:
        factors = self._factors(w)
        columns = []
        for j, k in enumerate(self._k):
            slope = 2 * k * w[:, j] ** (2 * k - 1)
            for i, other in enumerate(factors):
                if i != j:
                    slope = slope * other
            columns.append(slope)
        return torch.stack(columns, -1)


@final
class LinearNetwork:
    """K = ½ ‖W_L … W_1 − T‖²_F: the population loss of a deep linear network with unit-variance inputs and noise.

    widths H_0 (inputs) to H_L (outputs); T has `rank` singular values 1. The anchor is balanced, with weights beyond the rank at 0: the
    most singular of the true parameters, which is where λ is attained. Reduced-rank regression is L = 2.
    """

    def __init__(self, widths: Sequence[int], rank: int) -> None:
        self._shapes = [(widths[i + 1], widths[i]) for i in range(len(widths) - 1)]
        layers = [torch.zeros(shape) for shape in self._shapes]
        for layer in layers:
            layer.diagonal()[:rank] = 1.0
        self.anchor_layers = tuple(layers)
        self.target = torch.zeros(widths[-1], widths[0])
        self.target.diagonal()[:rank] = 1.0
        self.anchor = torch.cat([layer.reshape(-1) for layer in layers])

    def _layers(self, w: Tensor) -> list[Tensor]:
        parts = torch.split(w, [a * b for a, b in self._shapes], dim=-1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def loss(self, w: Float[Tensor, "c p"]) -> Float[Tensor, " c"]:
        product, *rest = self._layers(w)
        for layer in rest:
            product = layer @ product
        return (product - self.target).square().sum((-1, -2)) / 2

    def gradient(self, w: Float[Tensor, "c p"]) -> Float[Tensor, "c p"]:
        layers = self._layers(w)
        below = [layers[0]]  # below[i] = W_{i+1} … W_1
        for layer in layers[1:]:
            below.append(layer @ below[-1])
        upstream = below[-1] - self.target  # dK/d(W_{i+1} … W_1), walking down
        gradients = []
        for i in range(len(layers) - 1, 0, -1):
            gradients.append(upstream @ below[i - 1].mT)
            upstream = layers[i].mT @ upstream
        gradients.append(upstream)
        return torch.cat([g.reshape(w.shape[0], -1) for g in reversed(gradients)], -1)
