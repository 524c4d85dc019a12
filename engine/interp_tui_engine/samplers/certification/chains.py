"""Many chains of the SGLD kernel on a closed-form loss: the mean of nβK, its error, and the bias of its step size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .. import sgld
from ..noise import NoiseName
from ..philox import PhiloxSource
from ..settings import SamplerConfig
from .toy import LinearNetwork, Monomial, Quadratic, ToyLoss

_STEP = 1.0
"""ε times the largest curvature that any chain met. AR(1) is stable to 4; at 1 it is 33 % off, in that one direction of that one chain."""
_TYPICAL_STEP = 0.25
"""… and times the largest curvature of the median chain, where that is tighter: the subtracted bias is exact for Gaussians only."""
_SMALL_STEP = 0.1
"""As _STEP, where a run is cheap."""
_STEPS = 8_000
"""Steps that are averaged, at least; more where the slowest direction relaxes in more."""
_MAX_RELAXATION = 20_000
"""Steps that chains started spread out may take to relax. Slower ones (a singular valley at a low temperature) start from exact draws."""
_BURN_IN = 1_000
"""After exact draws only the stiff directions move away from the posterior, by the bias of the step, within a few relaxations of theirs."""
_NUMBERS_PER_STEP = 1 << 14
_NOISE_AHEAD = 1 << 18
_EVERY = 4
"""Steps between evaluations of the loss: neighbours say nearly the same."""
_REJECTION_ROUNDS, _PROPOSALS = 200, 1 << 18


class EnergyMean(NamedTuple):
    """What the chains gave. raw: mean of nβK; std_error: of it, over chains; step_bias: (ε/8) E|nβ ∇K|².

    slow: how many steps the slowest direction needs to relax where that was more than the run could wait for and no exact draws were to be
    had: the mean then depends on where the chains began. 0 otherwise.
    """

    raw: float
    std_error: float
    step_bias: float
    slow: int = 0

    @property
    def unbiased(self) -> float:
        """The mean without the step size's bias."""
        return self.raw - self.step_bias


def chains_of(loss: ToyLoss) -> int:
    """How many chains run side by side: enough to fill a step's arithmetic, and for an error over chains."""
    most = 256 if isinstance(loss, LinearNetwork) else 1024  # products of many small matrices cost a call each
    return max(128, min(most, _NUMBERS_PER_STEP // loss.anchor.numel()))


@torch.no_grad()
def measure(loss: ToyLoss, n_beta: float, gamma: float, lr: float | None, draws: Tensor | None, seed: int, noise: NoiseName) -> EnergyMean:
    """Mean of nβK over chains, its standard error and its step-size bias. An unstable step is halved and the run started over.

    draws: (chains, p) exact draws from the posterior to start from; None starts the chains spread out like the prior. noise: what the
    steps' noise is made of; where chains start is torch's in any case.
    """
    stiffness = _SMALL_STEP if isinstance(loss, Monomial | Quadratic) else _STEP
    while True:
        measured = _attempt(loss, n_beta, gamma, lr, draws, stiffness, seed, noise)
        if math.isfinite(measured.raw) or lr is not None:
            return measured
        stiffness /= 2


def _attempt(
    loss: ToyLoss, n_beta: float, gamma: float, lr: float | None, draws: Tensor | None, stiffness: float, seed: int, noise: NoiseName
) -> EnergyMean:
    generator = torch.Generator().manual_seed(seed)
    slow, burn_in, steps = 0, _BURN_IN, _STEPS
    if draws is not None:
        w, lr = draws.clone(), lr or _step_size(loss, draws, n_beta, gamma, stiffness, generator)
    else:
        w, lr, relaxation = _spread_start(loss, n_beta, gamma, lr, stiffness, generator)
        if not bool(w.isfinite().all()):
            return EnergyMean(math.nan, math.nan, math.nan)
        burn_in, steps = min(relaxation, _MAX_RELAXATION), max(_STEPS, min(relaxation, _MAX_RELAXATION))
        if relaxation > _MAX_RELAXATION:
            exact = _rejection_draws(loss, n_beta, gamma, w.shape[0], generator)
            if exact is None:
                slow = relaxation
            else:
                w, burn_in, steps = exact, _BURN_IN, _STEPS
    config = SamplerConfig(lr=lr, n_beta=n_beta, localization=gamma)
    return _run(loss, w, config, burn_in, steps, _filler(noise, seed, generator))._replace(slow=slow)


def _filler(noise: NoiseName, seed: int, generator: torch.Generator) -> Callable[[Tensor, int], object]:
    """What overwrites an array with N(0, 1), the k-th of a run: Philox's by its counter, of all chains in one flat vector, or torch's."""
    if noise == "philox":
        source = PhiloxSource(seed, 0, [0], "certify")
        return lambda out, k: source.fill(out.view(-1), k, 0)
    return lambda out, k: out.normal_(generator=generator)


def _run(
    loss: ToyLoss, w: Float[Tensor, "c p"], config: SamplerConfig, burn_in: int, steps: int, fill: Callable[[Tensor, int], object]
) -> EnergyMean:
    chains, p = w.shape
    state = sgld.init(w, config)
    total, slope, seen = torch.zeros(chains, dtype=torch.float64), 0.0, 0
    ahead = max(1, min(256, _NOISE_AHEAD // (chains * p)))
    noise = torch.empty(ahead, chains, p)
    for i in range(burn_in + steps):
        if i % ahead == 0:
            fill(noise, i // ahead)
        gradient = loss.gradient(state.weights)
        if i >= burn_in and i % _EVERY == 0:
            total += loss.loss(state.weights)
            slope += float(gradient.square().sum())
            seen += 1
        state = sgld.step(state, gradient, noise[i % ahead], loss.anchor, None, config)
    means = config.n_beta * total / seen
    bias = config.lr / 8 * config.n_beta**2 * slope / (seen * chains)
    return EnergyMean(float(means.mean()), float(means.std()) / math.sqrt(chains), bias)


def _spread_start(
    loss: ToyLoss, n_beta: float, gamma: float, lr: float | None, stiffness: float, generator: torch.Generator
) -> tuple[Float[Tensor, "c p"], float, int]:
    """Chains spread out like the prior, so that the slow directions need not diffuse there from w0; the step; the steps to relax."""
    spread = _spread(loss, n_beta, gamma)
    chains, p = chains_of(loss), loss.anchor.numel()
    w = loss.anchor + spread * torch.randn(chains, p, generator=generator)
    if isinstance(loss, Monomial) and gamma > 0:
        # Along the valleys of a product the posterior is even in log |w| down to where nβK is about 1; a normal start misses small ones.
        w *= torch.rand(chains, 1, generator=generator).mul(-0.5 * math.log(n_beta)).exp()
    w, step = _settle(loss, w, n_beta, gamma, lr, stiffness, generator)
    widest = max(spread**2, float((w - loss.anchor).square().mean(0).max()))
    return w, step, int(2 * widest / step) + 1 if math.isfinite(widest) else 0


def _spread(loss: ToyLoss, n_beta: float, gamma: float) -> float:
    """Typical extent of the widest direction: the prior's, or without one that of the loss, where nβK is about 1."""
    if gamma > 0:
        return 1 / math.sqrt(gamma)
    lengths = torch.logspace(-6, 6, 600)
    axes = torch.eye(loss.anchor.numel())
    inside = [n_beta * loss.loss(loss.anchor + lengths[:, None] * axis) < 1 for axis in axes]
    return max(float(lengths[within].max()) for within in inside)


def _settle(
    loss: ToyLoss, w: Float[Tensor, "c p"], n_beta: float, gamma: float, lr: float | None, stiffness: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Let the stiff directions fall from the spread-out start, with a step as large as the curvature met allows; then fix the step."""
    step = lr or 0.0
    for i in range(300):
        if lr is None and i % 10 == 0:
            step = stiffness / (n_beta * float(_curvature(loss, w, generator).max()) + gamma)
        pull = n_beta * loss.gradient(w) + gamma * (w - loss.anchor)
        w = w - step / 2 * pull + math.sqrt(step) * torch.randn(w.shape, generator=generator)
    return w, _step_size(loss, w, n_beta, gamma, stiffness, generator) if lr is None else step


def _step_size(loss: ToyLoss, w: Float[Tensor, "c p"], n_beta: float, gamma: float, stiffness: float, generator: torch.Generator) -> float:
    """The step that the largest curvature at these weights allows, with room for what the chains have yet to meet."""
    curvature = n_beta * _curvature(loss, w, generator)
    largest, typical = float(curvature.max()), float(curvature.median())
    return min(stiffness / (1.2 * largest + gamma), _TYPICAL_STEP / (typical + gamma))


def _curvature(loss: ToyLoss, w: Float[Tensor, "c p"], generator: torch.Generator) -> Float[Tensor, " c"]:
    """Each chain's largest Hessian eigenvalue, by power iteration on differences of gradients."""
    direction = torch.randn(w.shape, generator=generator)
    small = 1e-3 * max(float(w.abs().mean()), 1e-3)
    for _ in range(12):
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-30)
        direction = (loss.gradient(w + small * direction) - loss.gradient(w - small * direction)) / (2 * small)
    largest: Tensor = direction.norm(dim=1).clamp_min(1e-12)
    return largest


def _rejection_draws(loss: ToyLoss, n_beta: float, gamma: float, count: int, generator: torch.Generator) -> Float[Tensor, "c p"] | None:
    """Exact draws for a product of few weights: from the prior N(0, 1/γ), kept with probability exp(-nβK). None where too few are kept.

    Not for a quadratic: its slow directions are what the sampler has to renew, and where it cannot, no start may hide it.
    """
    if not isinstance(loss, Monomial) or gamma <= 0:
        return None
    kept: list[Tensor] = []
    for _ in range(_REJECTION_ROUNDS):
        proposed = torch.randn(_PROPOSALS // loss.anchor.numel(), loss.anchor.numel(), generator=generator) / math.sqrt(gamma)
        accept = torch.rand(proposed.shape[0], generator=generator).log() < -n_beta * loss.loss(proposed)
        kept.append(proposed[accept])
        if sum(part.shape[0] for part in kept) >= count:
            return torch.cat(kept)[:count]
    return None
