"""Susceptibilities and influences to first order: from gradients at w0, exact and without sampling noise.

Where localization holds the sampled weights C far more strongly than the loss does (gamma >> nβ H), they scatter about w0 as N(0, s I).
SGLD at step size ε is then an autoregression with factor 1 - ε(γ + λ)/2 in every direction, whose stationary variance is

    s = σ² / ((γ + λ)(1 - ε(γ + λ)/4))         γ: localization, λ: weight decay, σ: noise level

so that, to first order in s, for losses a and b (means over any tokens), in nats:

    Cov(a, b) = s ⟨∇_C a, ∇_C b⟩,   and with L the mean loss on the sampling data   chi(l) = Cov(L, L - l) = s (‖∇_C L‖² - ⟨∇_C L, ∇_C l⟩)

The inner products of one gradient with those of all tokens are one forward-mode pass: the derivative of every token's loss along it.
Curvature replaces s I by (nβ H_C + γ)⁻¹, a damped influence function; `curvature` says how much that would change along the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..models.device import widest_float

Weights = Mapping[str, Tensor]
Losses = Callable[[Weights, Any], Tensor]
"""(the weights that move, a batch) -> losses (b, t), in ordinary differentiable operations."""


class FirstOrderSettings(Protocol):
    """What of the sampler's settings sets the scatter of the weights."""

    lr: float
    localization: float
    llc_weight_decay: float
    noise_level: float
    sampling_method: str


@dataclass(frozen=True)
class LinearResponse:
    """A loss made linear at w0. weights: what moves, at w0; masks: which of their elements do (all where there is none)."""

    losses: Losses
    weights: Weights
    masks: Mapping[str, Tensor]

    def gradient(self, batches: Sequence[Any]) -> tuple[dict[str, Tensor], float]:
        """Of the mean loss over all tokens of the batches, and the mean loss. Each tensor has its parameter's shape; nats a token."""
        leaves = {name: w.detach().clone().requires_grad_() for name, w in self.weights.items()}
        total, count = 0.0, 0
        with plain_attention(), torch.enable_grad():
            for batch in batches:
                losses = self.losses(leaves, batch)
                losses.sum().backward()  # type: ignore[no-untyped-call]
                total, count = total + float(losses.detach().cpu().double().sum()), count + losses.numel()
        return {name: self._masked(name, leaf) / count for name, leaf in leaves.items()}, total / count

    def _masked(self, name: str, leaf: Tensor) -> Tensor:
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return (gradient * self.masks[name] if name in self.masks else gradient).detach()

    def along(self, direction: Weights, batches: Sequence[Any]) -> Float[NDArray[np.float64], "row position"]:
        """The derivative of every token's loss along a direction: one forward-mode pass over the batches."""
        size = norm(direction)
        if size == 0.0:
            unit = dict(direction)
        else:
            unit = {name: part / size for name, part in direction.items()}  # a direction of length 1 keeps the derivative's digits
        weights, parts = {name: w.detach() for name, w in self.weights.items()}, []
        with plain_attention(), torch.no_grad():
            for batch in batches:
                passed: Any = torch.func.jvp(lambda w, batch=batch: self.losses(w, batch), (weights,), (unit,))
                parts.append(passed[1].cpu().double() * (size or 1.0))
        return np.asarray(torch.cat(parts).numpy())

    def curvature(self, direction: Weights, batches: Sequence[Any]) -> float:
        """uᵀ H u along a direction's unit vector u, H the mean loss's Hessian: the gradient's derivative, forward over reverse."""
        size = norm(direction)
        if size == 0.0:
            return 0.0
        unit = {name: part / size for name, part in direction.items()}
        weights, total, count = {name: w.detach() for name, w in self.weights.items()}, 0.0, 0
        with plain_attention():
            for batch in batches:
                gradient = torch.func.grad(lambda w, batch=batch: self.losses(w, batch).sum())
                passed: Any = torch.func.jvp(gradient, (weights,), (unit,))
                double = widest_float(next(iter(unit.values())).device)
                total += sum(torch.stack([(passed[1][name].to(double) * unit[name].to(double)).sum() for name in unit]).tolist())
                count += int(self.losses(weights, batch).numel())
        return total / count


def norm(direction: Weights) -> float:
    """The Euclidean length of a direction in weight space."""
    return math.sqrt(sum(float(part.to(widest_float(part.device)).square().sum()) for part in direction.values()))


@contextmanager
def plain_attention() -> Any:
    """Attention in plain operations: the fused kinds have no forward-mode rule."""
    with sdpa_kernel([SDPBackend.MATH]):
        yield


def scatter(settings: FirstOrderSettings) -> float | None:
    """s, the variance of each weight about w0 that localization alone gives; None where nothing bounds it.

    Of SGLD, with its step size's share; of other samplers, the posterior's own σ²/(γ + λ).
    """
    pull = settings.localization + settings.llc_weight_decay
    slack = 1 - settings.lr * pull / 4 if settings.sampling_method == "sgmcmc_sgld" else 1.0
    return settings.noise_level**2 / (pull * slack) if pull > 0 and slack > 0 else None


def relaxation(settings: FirstOrderSettings, steps: int) -> float:
    """Correlation of a weight with itself `steps` steps of SGLD later, where localization alone acts."""
    return (1 - settings.lr * (settings.localization + settings.llc_weight_decay) / 2) ** steps


def gram(
    linear: LinearResponse, rows: Sequence[Any], budget: int, on_row: Callable[[int], None] = lambda done: None
) -> Float[NDArray[np.float64], "row row"]:
    """⟨∇_C a_i, ∇_C a_j⟩ of the mean losses a of each batch of `rows`: blocks of gradients within `budget` bytes are held at once."""
    size = sum(w.numel() for w in linear.weights.values())
    block = max(1, budget // (2 * 4 * max(1, size)))
    products = np.empty((len(rows), len(rows)))

    def gradients(start: int) -> Float[Tensor, "n p"]:
        here = [linear.gradient([row])[0] for row in rows[start : start + block]]
        return torch.stack([torch.cat([part.reshape(-1) for part in gradient.values()]) for gradient in here])

    for i in range(0, len(rows), block):
        left = gradients(i)
        for j in range(0, i + 1, block):
            right = left if i == j else gradients(j)
            product = (left @ right.T).cpu().double().numpy()
            products[i : i + len(left), j : j + len(right)] = product
            products[j : j + len(right), i : i + len(left)] = product.T
        on_row(min(i + block, len(rows)))
    return products
