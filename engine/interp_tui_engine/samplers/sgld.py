"""Stochastic gradient Langevin dynamics, localised.

Welling & Teh (2011), "Bayesian learning via stochastic gradient Langevin dynamics"; the pull towards w0 is that of
Lau et al. (2023), "The local learning coefficient" (arXiv 2308.12108).

    w <- w - (eps/2) m [nbeta g + gamma (w - w0) + lambda w] + sqrt(eps) m N(0, sigma^2),   then clamp to w0 +- box

For small eps the stationary law is proportional to exp(-nbeta L(w) - gamma |w - w0|^2 / 2 - lambda |w|^2 / 2) on the unmasked
coordinates. Units: loss in nats, eps in weight^2, nbeta dimensionless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .settings import SamplerConfig

METHOD = "sgmcmc_sgld"
SETTINGS: dict[str, float] = {}


@dataclass(frozen=True)
class SGLDState:
    """The chain's position. `step` writes into `weights`: a copy would cost a pass over memory."""

    weights: Float[Tensor, "*chains p"]


State = SGLDState


def init(weights: Float[Tensor, "*chains p"], config: SamplerConfig) -> SGLDState:
    """A chain at `weights`."""
    return SGLDState(weights)


def step(
    state: SGLDState,
    gradient: Float[Tensor, "*chains p"],
    noise: Float[Tensor, "*chains p"],
    anchor: Float[Tensor, " p"],
    mask: Float[Tensor, " p"] | None,
    config: SamplerConfig,
) -> SGLDState:
    """One update of `state.weights`, in place. `noise` is overwritten with the update applied, before the box.

    gradient: of the mean loss at the weights; noise: standard normal; anchor: w0; mask: 1 where a weight may move, 0 where not.
    """
    w, half = state.weights, config.lr / 2
    update = noise.mul_(math.sqrt(config.lr) * config.noise_level)
    update.add_(gradient, alpha=-half * config.n_beta)
    if config.localization:
        update.add_(w - anchor, alpha=-half * config.localization)
    if config.llc_weight_decay:
        update.add_(w, alpha=-half * config.llc_weight_decay)
    if mask is not None:
        update.mul_(mask)
    w.add_(update)
    if config.bounding_box_size is not None:
        torch.clamp(w, min=anchor - config.bounding_box_size, max=anchor + config.bounding_box_size, out=w)
    return state


def conditioner(state: SGLDState, config: SamplerConfig) -> None:
    """G of the update: the identity."""
    return None
