"""How often Metropolis and Hastings would have accepted a Langevin step: a diagnostic of its size, not a part of any sampler here.

Roberts & Tweedie (1996), "Exponential convergence of Langevin distributions and their discrete approximations" (MALA). A step of SGLD
proposes w' ~ q(w' | w) = N(w - (eps/2) G dU(w), eps sigma^2 G) and always takes it; with the correction it would be taken with

    alpha = min(1, exp[U(w) - U(w')] q(w | w') / q(w' | w)),      U = nbeta L + gamma |w - w0|^2 / 2 + lambda |w|^2 / 2

A mean well below 1 says that the step is too large for the curvature it meets. U is that of one batch, the same at both ends, so alpha
speaks of the discretisation alone and not of the batches' noise. Unmasked coordinates only; G is taken as constant over the step; a box
that clamps w' is passed over. Dimensionless.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.device import widest_float
from .settings import SamplerConfig


def log_proposal_ratio(
    start: Float[Tensor, "*chains p"],
    end: Float[Tensor, "*chains p"],
    start_drift: Float[Tensor, "*chains p"],
    end_drift: Float[Tensor, "*chains p"],
    conditioner: Float[Tensor, "*chains p"] | None,
    lr: float,
    noise_level: float,
) -> Float[Tensor, "*chains"]:
    """log q(start | end) - log q(end | start), summed over coordinates in float64 where there is one; the drifts are dU at the two ends."""
    double = widest_float(end.device)
    move = (end - start).to(double)
    there, back = start_drift.to(double) * (lr / 2), end_drift.to(double) * (lr / 2)
    if conditioner is None:
        squares = (move + there).square() - (back - move).square()
    else:
        g_diag = conditioner.to(double)
        squares = ((move + g_diag * there).square() - (g_diag * back - move).square()) / g_diag
    return squares.sum(-1) / (2 * lr * noise_level**2)


def log_ratio_of_block(
    start: Float[Tensor, "*chains p"],
    end: Float[Tensor, "*chains p"],
    start_gradient: Float[Tensor, "*chains p"],
    end_gradient: Float[Tensor, "*chains p"],
    anchor: Float[Tensor, " p"],
    mask: Float[Tensor, " p"] | None,
    conditioner: Float[Tensor, "*chains p"] | None,
    config: SamplerConfig,
) -> Float[Tensor, "*chains"]:
    """What one block of coordinates adds to log alpha: proposal densities and priors, all but nbeta (L - L'). Gradients are of L."""
    keep = torch.ones_like(anchor) if mask is None else mask
    drifts, priors = [], []
    for weights, gradient in ((start, start_gradient), (end, end_gradient)):
        away = weights - anchor
        drifts.append(keep * (config.n_beta * gradient + config.localization * away + config.llc_weight_decay * weights))
        double = widest_float(anchor.device)
        squares = config.localization * away.to(double).square() + config.llc_weight_decay * weights.to(double).square()
        priors.append((keep * squares).sum(-1) / 2)
    ratio = log_proposal_ratio(start, end, drifts[0], drifts[1], conditioner, config.lr, config.noise_level)
    return ratio + priors[0] - priors[1]


def probability(log_ratio: float) -> float:
    """alpha of log alpha; 0 where a term of it was not finite."""
    return math.exp(min(0.0, log_ratio)) if not math.isnan(log_ratio) else 0.0


def acceptance(
    start: Float[Tensor, " p"],
    start_gradient: Float[Tensor, " p"],
    start_potential: float,
    end: Float[Tensor, " p"],
    end_gradient: Float[Tensor, " p"],
    end_potential: float,
    lr: float,
) -> float:
    """alpha of one plain Langevin step (G = 1, sigma = 1) from potentials U and their gradients at its two ends."""
    ratio = float(log_proposal_ratio(start, end, start_gradient, end_gradient, None, lr, 1.0))
    return probability(start_potential - end_potential + ratio)
