"""Stochastic gradient Nose-Hoover thermostat: momentum whose friction adapts to the noise that the gradients bring along.

Ding, Fang, Babbush, Chen, Skeel & Neven (2014), "Bayesian sampling using stochastic gradient thermostats", algorithm 1, with
U = nbeta L + gamma |w - w0|^2 / 2 + lambda |w|^2 / 2. In the paper's terms with step h: v = h p, eps = h^2, A and xi times h:

    v  <- v - xi v - eps dU(w) + sqrt(2 A eps) N(0, sigma^2)
    w  <- w + m v,      then clamp to w0 +- box; a coordinate that is clamped turns its momentum round
    xi <- xi + mean(v^2) - eps,      the mean over the coordinates that may move

Whatever the (isotropic) gradient noise, xi rises until mean v^2 is eps, the temperature 1; the law of w tends to exp(-U) as eps and A
tend to 0, its variances being too small by a share of about xi.
One xi for all coordinates of a chain, as in devinterp. v starts at 0 and xi at A: the noise heats v within about 1/(2 A) steps, which
belong in the burn-in. Units: loss in nats, eps in weight^2, v in weight, A and xi dimensionless; A must lie in (0, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .settings import SamplerConfig

METHOD = "sgnht"
SETTINGS = {"diffusion_factor": 0.01}
BOUNDS = {"diffusion_factor": (0.0, 1.0)}
LANGEVIN = False


@dataclass(frozen=True)
class SGNHTState:
    """Position, momentum v and thermostat. `thermostat` holds xi once per coordinate, so that blocks of a chain can be updated apart."""

    weights: Float[Tensor, "*chains p"]
    momentum: Float[Tensor, "*chains p"]
    thermostat: Float[Tensor, "*chains p"]


State = SGNHTState


def _diffusion(config: SamplerConfig) -> float:
    return float(config.sampling_method_kwargs.get("diffusion_factor", SETTINGS["diffusion_factor"]))


def init(weights: Float[Tensor, "*chains p"], config: SamplerConfig) -> SGNHTState:
    """A chain at `weights`, at rest, with xi = A."""
    return SGNHTState(weights, torch.zeros_like(weights), torch.full_like(weights, _diffusion(config)))


def step(
    state: SGNHTState,
    gradient: Float[Tensor, "*chains p"],
    noise: Float[Tensor, "*chains p"],
    anchor: Float[Tensor, " p"],
    mask: Float[Tensor, " p"] | None,
    config: SamplerConfig,
) -> SGNHTState:
    """v and w of one update, in place; arguments as in `sgld.step`. xi is left as it is: it needs all coordinates, see `couple`."""
    w, v, eps = state.weights, state.momentum, config.lr
    v.mul_(1 - state.thermostat)
    v.add_(gradient, alpha=-eps * config.n_beta)
    if config.localization:
        v.add_(w - anchor, alpha=-eps * config.localization)
    if config.llc_weight_decay:
        v.add_(w, alpha=-eps * config.llc_weight_decay)
    v.add_(noise, alpha=math.sqrt(2 * _diffusion(config) * eps) * config.noise_level)
    if mask is not None:
        v.mul_(mask)
    w.add_(v)
    if config.bounding_box_size is not None:
        low, high = anchor - config.bounding_box_size, anchor + config.bounding_box_size
        outside = (w < low) | (w > high)
        torch.clamp(w, min=low, max=high, out=w)
        v.copy_(torch.where(outside, -v, v))
    return state


def couple(state: SGNHTState, moving: int, config: SamplerConfig) -> None:
    """xi of the update, in place, once all blocks have made their `step`. moving: how many coordinates of a chain may move."""
    energy = torch.linalg.vector_norm(state.momentum, dim=-1, keepdim=True).square() / moving
    state.thermostat.add_(energy - config.lr)


def conditioner(state: SGNHTState, config: SamplerConfig) -> None:
    """There is no G that would make this update a Langevin step, so its parts are not measured (see `registry.Method.langevin`)."""
    return None
