"""SGLD preconditioned by a running mean of squared gradients.

Li, Chen, Carlson & Carin (2016), "Preconditioned stochastic gradient Langevin dynamics for deep neural networks"
(arXiv 1512.07666), algorithm 1, without the Gamma term:

    V <- alpha V + (1 - alpha) g^2,    G = 1 / (sqrt(V) + delta)
    w <- w - (eps/2) m G [nbeta g + gamma (w - w0) + lambda w] + sqrt(eps) m sqrt(G) N(0, sigma^2),   then clamp to w0 +- box

g is the raw gradient of the mean loss; V starts at 0 and is not bias-corrected. Dropping Gamma (the divergence of G) leaves an error
of order (1 - alpha) in the stationary law. Units as in `sgld`; G makes eps a step in weight^2 per unit of gradient scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .settings import SamplerConfig

METHOD = "rmsprop_sgld"
SETTINGS = {"alpha": 0.99, "eps": 0.1}


@dataclass(frozen=True)
class RMSpropSGLDState:
    """Position and running mean of squared gradients. `step` writes into both."""

    weights: Float[Tensor, "*chains p"]
    square_avg: Float[Tensor, "*chains p"]


State = RMSpropSGLDState


def init(weights: Float[Tensor, "*chains p"], config: SamplerConfig) -> RMSpropSGLDState:
    """A chain at `weights` with V = 0."""
    return RMSpropSGLDState(weights, torch.zeros_like(weights))


def step(
    state: RMSpropSGLDState,
    gradient: Float[Tensor, "*chains p"],
    noise: Float[Tensor, "*chains p"],
    anchor: Float[Tensor, " p"],
    mask: Float[Tensor, " p"] | None,
    config: SamplerConfig,
) -> RMSpropSGLDState:
    """One update of `state`, in place; arguments as in `sgld.step`. `noise` is overwritten with the update applied, before the box."""
    w, half = state.weights, config.lr / 2
    alpha = config.sampling_method_kwargs.get("alpha", SETTINGS["alpha"])
    state.square_avg.mul_(alpha).addcmul_(gradient, gradient, value=1 - alpha)
    g_diag = conditioner(state, config)
    drift = gradient * config.n_beta
    if config.localization:
        drift.add_(w - anchor, alpha=config.localization)
    if config.llc_weight_decay:
        drift.add_(w, alpha=config.llc_weight_decay)
    update = noise.mul_(g_diag.sqrt()).mul_(math.sqrt(config.lr) * config.noise_level)
    update.addcmul_(drift, g_diag, value=-half)
    if mask is not None:
        update.mul_(mask)
    w.add_(update)
    if config.bounding_box_size is not None:
        torch.clamp(w, min=anchor - config.bounding_box_size, max=anchor + config.bounding_box_size, out=w)
    return state


def conditioner(state: RMSpropSGLDState, config: SamplerConfig) -> Float[Tensor, "*chains p"]:
    """G = 1 / (sqrt(V) + delta), elementwise."""
    delta = config.sampling_method_kwargs.get("eps", SETTINGS["eps"])
    return state.square_avg.sqrt().add_(delta).reciprocal_()
