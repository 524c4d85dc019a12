"""Hold the SGLD kernel to learning coefficients that are known exactly.

Many chains of the very kernel that samples models run on a closed-form population loss. Three errors are named apart:

- Monte-Carlo error: spread of the chains' means over sqrt(chains); chains are independent.
- Step-size bias: (ε/8) E|nβ ∇K|². For a Gaussian posterior without localisation this is the bias exactly: AR(1) inflates each
  direction's share by 1/(1 - εa/4), and (ε/8) E[a² w²] is the excess. Subtracted.
- Finite temperature: λ̂ at nβ differs from λ by -(m-1)/(log nβ + c) when the multiplicity m is above 1, and by a term falling like
  nβ^(-1/2) when it is 1. From two temperatures, or given exactly. Subtracted.

Chains start spread out like the prior, so that the slow directions need not diffuse there from w0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .. import sgld
from ..settings import SamplerConfig
from .toy import LinearNetwork, Monomial, Quadratic, ToyLoss

_TEMPERATURES = (30.0, 100.0)
_STEP = 1.0
"""ε times the largest curvature that any chain met. AR(1) is stable to 4; at 1 it is 33 % off, in that one direction of that one chain."""
_SMALL_STEP = 0.2
"""The same where a run is cheap: the bias estimate is exact for Gaussians only, so less of it is better."""
_MIN_STEPS, _MAX_STEPS = 8_000, 100_000
"""Burn-in and sampling each last one relaxation time of the slowest direction, within these bounds. A run that meets the upper one (a
singular valley at a low temperature) has not diffused along the valley, and relies on having started spread out along it."""
_NUMBERS_PER_STEP = 8192
_NOISE_AHEAD = 1 << 18
_EVERY = 4
"""Steps between evaluations of the loss: neighbours say nearly the same."""


class Target(NamedTuple):
    """What a case is held to. tolerance: allowed relative error, or None for three standard errors.
    finite_temperature: exact E[nβK] - λ at (nβ, γ) where known, else None."""

    true: float
    multiplicity: int
    tolerance: float | None
    finite_temperature: Callable[[float, float], float | None]


@dataclass(frozen=True)
class CaseResult:
    """One certified case. `estimate` has the two biases taken out; `raw` = estimate + step_bias + finite_temperature."""

    name: str
    true: float
    estimate: float
    std_error: float
    raw: float
    step_bias: float
    finite_temperature: float
    passed: bool
    seconds: float


class _Measured(NamedTuple):
    raw: float
    std_error: float
    step_bias: float


def certify_case(case: Mapping[str, Any], name: str, target: Target, seed: int) -> CaseResult:
    """Sample the case and compare. `case` has passed `estimators.known_cases.check_case`; `target` is what it says to expect.

    A case with n_beta is measured at that temperature and compared with the exact value there; one without is extrapolated to λ.
    """
    begun = time.perf_counter()
    loss = _loss(case)
    confining = isinstance(loss, Quadratic) or (isinstance(loss, Monomial) and loss.anchor.numel() == 1)
    gamma = float(case.get("localization", 0.0 if confining else 1.0))
    if "n_beta" in case:
        n = float(case["n_beta"])
        at = _measure(loss, n, gamma, case.get("lr"), seed)
        # With its own lr, a case is held to the discretised process, bias and all.
        bias = 0.0 if "lr" in case else at.step_bias
        estimate, error, finite = at.raw - bias, at.std_error, 0.0
    else:
        runs = [_measure(loss, n, gamma, case.get("lr"), seed + i) for i, n in enumerate(_TEMPERATURES)]
        at, bias = runs[-1], runs[-1].step_bias
        unbiased = [r.raw - r.step_bias for r in runs]
        known = target.finite_temperature(_TEMPERATURES[-1], gamma)
        finite = known if known is not None else _finite_temperature(unbiased, target.multiplicity)
        # The extrapolated term moves by about its own share of each run's error.
        share = 0.0 if known is not None else 1.2
        error = math.hypot(at.std_error * (1 + share), runs[0].std_error * share)
        estimate = unbiased[-1] - finite
    allowed = 3 * error if target.tolerance is None else target.tolerance * abs(target.true)
    passed = abs(estimate - target.true) <= allowed
    return CaseResult(name, target.true, estimate, error, at.raw, bias, finite, passed, time.perf_counter() - begun)


def _loss(case: Mapping[str, Any]) -> ToyLoss:
    family = case["family"]
    if family == "quadratic":
        return Quadratic(case["curvatures"])
    if family == "monomial":
        return Monomial(case["powers"])
    widths = case["widths"] if family == "deep_linear_network" else (case["inputs"], case["hidden"], case["outputs"])
    return LinearNetwork(widths, case["rank"])


def _finite_temperature(values: list[float], multiplicity: int) -> float:
    """λ̂(nβ) - λ at the second temperature, from the rise between the two."""
    rise = values[1] - values[0]
    if rise <= 0:
        return 0.0
    first, second = (math.log(n) for n in _TEMPERATURES)
    if multiplicity == 1:
        low, high = (1 / math.sqrt(n) for n in _TEMPERATURES)
        return -rise * high / (low - high)
    # (m-1) [1/(first + c) - 1/(second + c)] = rise, solved for second + c.
    gap, weight = second - first, multiplicity - 1
    reach = gap / 2 + math.sqrt(gap * gap / 4 + weight * gap / rise)
    return -weight / reach


@torch.no_grad()
def _measure(loss: ToyLoss, n_beta: float, gamma: float, lr: float | None, seed: int) -> _Measured:
    """Mean of nβK over chains, its standard error and its step-size bias. An unstable step is halved and the run started over."""
    step = _SMALL_STEP if gamma == 0 else _STEP
    while True:
        found = _attempt(loss, n_beta, gamma, lr, step, seed)
        if math.isfinite(found.raw) or lr is not None:
            return found
        step /= 2


def _attempt(loss: ToyLoss, n_beta: float, gamma: float, lr: float | None, stiffness: float, seed: int) -> _Measured:
    generator = torch.Generator().manual_seed(seed)
    p = loss.anchor.numel()
    chains = max(64, min(1024, _NUMBERS_PER_STEP // p))
    spread = _spread(loss, n_beta, gamma)
    w = loss.anchor + spread * torch.randn(chains, p, generator=generator)
    if isinstance(loss, Monomial) and gamma > 0:
        # Along the valleys of a product the posterior is even in log |w| down to where nβK is about 1; a normal start misses small ones.
        w *= torch.rand(chains, 1, generator=generator).mul(-0.5 * math.log(n_beta)).exp()
    w, lr = _settle(loss, w, n_beta, gamma, lr, stiffness, generator)
    if not bool(w.isfinite().all()):
        return _Measured(math.nan, math.nan, math.nan)
    relaxation = 2 * max(spread**2, float((w - loss.anchor).square().mean(0).max())) / lr
    burnin = min(int(relaxation) + 1, _MAX_STEPS)
    steps = max(_MIN_STEPS, burnin)
    config = SamplerConfig(lr=lr, n_beta=n_beta, localization=gamma)
    state = sgld.init(w, config)
    total, slope, seen = torch.zeros(chains, dtype=torch.float64), 0.0, 0
    ahead = max(1, min(256, _NOISE_AHEAD // (chains * p)))
    noise = torch.empty(ahead, chains, p)
    for i in range(burnin + steps):
        if i % ahead == 0:
            noise.normal_(generator=generator)
        gradient = loss.gradient(state.weights)
        if i >= burnin and i % _EVERY == 0:
            total += loss.loss(state.weights)
            slope += float(gradient.square().sum())
            seen += 1
        state = sgld.step(state, gradient, noise[i % ahead], loss.anchor, None, config)
    means = n_beta * total / seen
    bias = lr / 8 * n_beta**2 * slope / (seen * chains)
    return _Measured(float(means.mean()), float(means.std()) / math.sqrt(chains), bias)


def _spread(loss: ToyLoss, n_beta: float, gamma: float) -> float:
    """Typical extent of the widest direction: the prior's, or without one that of the loss, where nβK is about 1."""
    if gamma > 0:
        return 1 / math.sqrt(gamma)
    probe = torch.logspace(-6, 3, 400)[:, None] * torch.ones(loss.anchor.numel())
    inside = n_beta * loss.loss(loss.anchor + probe) < 1
    return float(probe[inside].max())


def _settle(
    loss: ToyLoss, w: Float[Tensor, "c p"], n_beta: float, gamma: float, lr: float | None, stiffness: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Let the stiff directions fall from the spread-out start, with a step as large as the curvature met allows; then fix the step."""
    step = lr or 0.0
    for i in range(300):
        if lr is None and i % 10 == 0:
            step = stiffness / (n_beta * _curvature(loss, w, generator) + gamma)
        pull = n_beta * loss.gradient(w) + gamma * (w - loss.anchor)
        w = w - step / 2 * pull + math.sqrt(step) * torch.randn(w.shape, generator=generator)
    if lr is None:
        step = stiffness / (1.2 * n_beta * _curvature(loss, w, generator) + gamma)
    return w, step


def _curvature(loss: ToyLoss, w: Float[Tensor, "c p"], generator: torch.Generator) -> float:
    """Largest Hessian eigenvalue over the chains, by power iteration on differences of gradients."""
    direction = torch.randn(w.shape, generator=generator)
    small = 1e-3 * max(float(w.abs().mean()), 1e-3)
    for _ in range(12):
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-30)
        direction = (loss.gradient(w + small * direction) - loss.gradient(w - small * direction)) / (2 * small)
    return max(float(direction.norm(dim=1).max()), 1e-12)
