"""Norms and inner products of the parts of one update, to tune a sampler by. Names and meanings are devinterp's.

    scaled_grad  (eps/2) nbeta G g      unscaled_grad  (eps/2) nbeta g      localization  (eps/2) G gamma (w - w0)
    weight_decay (eps/2) G lambda w     noise          sqrt(eps G) sigma N  distance      w - w0

each under the mask, at the weights before the update; `dot_*` are inner products of gradient, prior (localization + weight decay)
and noise. Norms are L2, in units of weight.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.device import widest_float
from .settings import SamplerConfig

NORMS = ("scaled_grad", "unscaled_grad", "localization", "weight_decay", "noise", "distance")
DOTS = ("dot_grad_prior", "dot_grad_noise", "dot_prior_noise")
NAMES = NORMS + DOTS


def parts_of_step(
    weights: Float[Tensor, " p"],
    gradient: Float[Tensor, " p"],
    noise: Float[Tensor, " p"],
    anchor: Float[Tensor, " p"],
    mask: Float[Tensor, " p"] | None,
    conditioner: Float[Tensor, " p"] | None,
    config: SamplerConfig,
) -> Float[Tensor, " 9"]:
    """Sums over one block, in the order of `NAMES`: squared norms, then inner products, in float64 so that blocks add up exactly enough
    (in float32 on MPS, which has no other)."""
    double = widest_float(weights.device)
    half = config.lr / 2
    m = torch.ones_like(weights) if mask is None else mask
    g_diag = torch.ones_like(weights) if conditioner is None else conditioner
    distance = weights - anchor
    unscaled = gradient * (half * config.n_beta) * m
    scaled = unscaled * g_diag
    pull = distance * (half * config.localization) * g_diag * m
    decay = weights * (half * config.llc_weight_decay) * g_diag * m
    kick = noise * g_diag.sqrt() * (math.sqrt(config.lr) * config.noise_level) * m
    prior = pull + decay
    squares = [v.to(double).square().sum() for v in (scaled, unscaled, pull, decay, kick, distance)]
    dots = [(a.to(double) * b.to(double)).sum() for a, b in ((scaled, prior), (scaled, kick), (prior, kick))]
    return torch.stack([*squares, *dots])


def finish(sums: Float[Tensor, " 9"]) -> Float[Tensor, " 9"]:
    """Square roots of the squared norms; inner products as they are."""
    return torch.cat([sums[: len(NORMS)].sqrt(), sums[len(NORMS) :]])
