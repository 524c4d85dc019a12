"""How far the loss would rise if nothing but noise and localization moved the weights: the control of every lambda-hat.

At nbeta = 0 a step of SGLD is u <- rho u - (eps/2) lambda w0 + sqrt(eps) sigma N(0, 1), u = w - w0 and rho = 1 - eps (gamma + lambda)/2:
after t steps each coordinate that moves is normal, with

    mean -lambda/(gamma + lambda) (1 - rho^t) w0,      variance eps sigma^2 (1 - rho^2t)/(1 - rho^2)

(eps sigma^2 t where rho = 1). It is drawn from directly: a few forward passes in place of a second run. A sampler with a preconditioner or
momentum has the law of small steps in its stead, N(0, sigma^2/(gamma + lambda)), and none without localization.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.problem import SamplingTarget
from ..target.space import FlatWeights
from .anchor_loss import batch_sum, fixed_leaves
from .microbatch import Microbatch

PLAIN = "sgmcmc_sgld"


def control_law(config: SamplerConfig, steps: int) -> tuple[float, float] | None:
    """(share of w0 lost, standard deviation) of a coordinate after so many steps at nbeta = 0; None where there is no such law."""
    pull = config.localization + config.llc_weight_decay
    lost = config.llc_weight_decay / pull if pull else 0.0
    if config.sampling_method != PLAIN:
        return (lost, config.noise_level / math.sqrt(pull)) if pull else None
    rho = 1 - config.lr * pull / 2
    if abs(rho) > 1:  # the step is too large for the pull itself
        return None
    decayed = rho ** (2 * steps)
    variance = config.lr * config.noise_level**2 * (steps if abs(rho) == 1 else (1 - decayed) / (1 - rho**2))
    return lost * (1 - rho**steps), math.sqrt(variance + decayed * (config.init_noise or 0.0) ** 2)


@torch.no_grad()
def control_rises(problem: SamplingTarget, config: SamplerConfig, draws: int) -> Float[NDArray[np.float64], " draw"] | None:
    """Mean loss of weights drawn from the law at nbeta = 0 above that at w0, each on the rows of the step it stands for; nats.

    The draws are spread over the steps after burn-in. None where there is no such law; not finite where the loss is not.
    """
    order, pieces = BatchOrder(problem.rows, config), Microbatch(config.batch_size, lambda message: None)
    weights = problem.space.weights()
    moved, still = problem.bind(weights.leaves), problem.bind(fixed_leaves(problem))
    rises = []
    for draw, step in enumerate(np.linspace(config.num_burnin_steps, config.num_sgld_steps - 1, draws).round().astype(int).tolist()):
        law = control_law(config, step)
        if law is None:
            return None
        _draw(weights, config, draw, *law)
        rows = order.batch(step * config.gradient_accumulation_steps, 0)
        sums = [pieces.run(lambda loss=loss, rows=rows: batch_sum(problem, loss, rows, pieces)).mean() for loss in (moved, still)]  # type: ignore[misc]
        rises.append((sums[0] - sums[1]) / int(rows.shape[0]))
    return np.array(rises)


def _draw(weights: FlatWeights, config: SamplerConfig, draw: int, lost: float, deviation: float) -> None:
    space = weights.space
    source = space.noise("torch", config.init_seed, draw, "control")
    for block in space.blocks:
        anchor = space.anchor_at(block)
        away = (
            source.fill(torch.empty(block.stop - block.start, device=space.device), 0, block.index).mul_(deviation).sub_(anchor, alpha=lost)
        )
        if block.mask is not None:
            away.mul_(block.mask)
        if config.bounding_box_size is not None:
            away.clamp_(-config.bounding_box_size, config.bounding_box_size)
        weights.flat[block.start : block.stop] = anchor + away
        weights.publish(block)
