"""JumpReLU: a learnt threshold a latent, trained through the step by a kernel (Rajamanoharan et al. 2024, arXiv 2407.14435)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import STANDARD, Architecture, Pass, preactivations, squared_error
from .batch_topk import above_threshold
from .names import Sparsity
from .sparse import Codes
from .weights import Weights

ARCHITECTURE = "jumprelu"
SETTINGS = {"k": 32, "l0": 1.0, "bandwidth": 2.0, "threshold": 1.0}


@dataclass(frozen=True)
class JumpReLU(Architecture):
    """z = h·H(h − θ), h = W_enc(x − b_dec) + b_enc, θ ≥ 0, loss ‖x − x̂‖² + l0·k·(L0/k − 1)².

    The penalty is the paper's app. G one, which steers the mean number of active latents L0 to k instead of leaving it to a coefficient.
    θ has gradients through the step by a rectangle kernel of width `bandwidth` (pseudo-derivatives of the paper's eq. 11-12):
    ∂z/∂θ = −(θ/ε)·K((h−θ)/ε), ∂H/∂θ = −(1/ε)·K((h−θ)/ε). Their mean over inputs is a density of h at θ, so h is not cut off at 0 first:
    every input on which a latent is silent would stand at 0, within ε/2 of a small θ. θ itself is the parameter, kept ≥ 0: under Adam its
    logarithm would hardly move.
    """

    k: int
    l0: float
    bandwidth: float
    start: float
    """θ at the beginning."""
    name: ClassVar[str] = ARCHITECTURE
    stored_as: ClassVar[str] = "jumprelu"
    tensors: ClassVar[Mapping[str, str]] = {**STANDARD, "threshold": "threshold"}
    trained: ClassVar[tuple[str, ...]] = ("encoder", "b_enc", "decoder", "b_dec", "threshold")
    revives_dead: ClassVar[bool] = False

    @classmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        return cls(sparsity.k, sparsity.l0, sparsity.bandwidth, sparsity.threshold)

    @classmethod
    def restored(cls, config: Mapping[str, Any], ours: Mapping[str, Any]) -> Architecture | None:
        return cls(k=1, l0=math.nan, bandwidth=math.nan, start=math.nan)  # what only training knew

    def begin(self, weights: Weights) -> Weights:
        return replace(weights, threshold=torch.full_like(weights.b_enc, self.start))

    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        hidden_BM = preactivations(weights, x_BD).float()
        codes_BM: Tensor = _Jump.apply(hidden_BM, weights.threshold, self.bandwidth)  # type: ignore[no-untyped-call]
        active_BM: Tensor = _Step.apply(hidden_BM, weights.threshold, self.bandwidth)  # type: ignore[no-untyped-call]
        reconstruction_BD = codes_BM @ weights.decoder + weights.b_dec
        error = squared_error(x_BD, reconstruction_BD)
        penalty = self.l0 * pressure * self.k * (active_BM.sum(1).mean() / self.k - 1).square()
        return Pass(reconstruction_BD, error + penalty, error, active_BM.detach().sum(0))

    @torch.no_grad()
    def encode(self, weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
        return above_threshold(weights, x_BD)

    def settle(self, weights: Weights, done: Pass) -> None:
        assert weights.threshold is not None
        weights.threshold.clamp_(min=0)


def _kernel(hidden_BM: Tensor, threshold_M: Tensor, bandwidth: float) -> Tensor:
    return ((hidden_BM - threshold_M).abs() < bandwidth / 2).to(hidden_BM.dtype)


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_BM: Tensor, threshold_M: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(hidden_BM, threshold_M)
        ctx.bandwidth = bandwidth
        return hidden_BM * (hidden_BM > threshold_M)

    @staticmethod
    def backward(ctx: Any, gradient_BM: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_BM, threshold_M = ctx.saved_tensors
        near_BM = _kernel(hidden_BM, threshold_M, ctx.bandwidth)
        threshold = -(threshold_M / ctx.bandwidth) * (near_BM * gradient_BM).sum(0)
        return gradient_BM * (hidden_BM > threshold_M), threshold, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_BM: Tensor, threshold_M: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(hidden_BM, threshold_M)
        ctx.bandwidth = bandwidth
        return (hidden_BM > threshold_M).to(hidden_BM.dtype)

    @staticmethod
    def backward(ctx: Any, gradient_BM: Tensor) -> tuple[None, Tensor, None]:
        hidden_BM, threshold_M = ctx.saved_tensors
        near_BM = _kernel(hidden_BM, threshold_M, ctx.bandwidth)
        return None, -(near_BM * gradient_BM).sum(0) / ctx.bandwidth, None
