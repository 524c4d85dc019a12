"""Exact learning coefficients λ and multiplicities m, and exact expectations of finite-temperature and finite-step samplers.

For a statistical model the free energy is nβ L(w0) + λ log nβ - (m - 1) log log nβ + O(1) (Watanabe 2009), so λ is half the effective
number of parameters. All values are dimensionless.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import UserError


class LearningCoefficient(NamedTuple):
    """λ and its multiplicity m."""

    value: float
    multiplicity: int


def reduced_rank_regression(inputs: int, hidden: int, outputs: int, rank: int) -> LearningCoefficient:
    """y = B A x with A (hidden, inputs), B (outputs, hidden) and a true map of the given rank.

    Aoyagi & Watanabe (2005), "Stochastic complexities of reduced rank regression in Bayesian estimation", Neural Networks 18, main
    theorem; M inputs, H hidden, N outputs, r rank. Raises UserError when no such map exists.
    """
    m, h, n, r = inputs, hidden, outputs, rank
    if min(m, h, n) < 1 or not 0 <= r <= min(m, h, n):
        what = f"reduced_rank_regression with inputs={m}, hidden={h}, outputs={n}, rank={r}"
        raise UserError(what, "Widths are at least 1, and 0 <= rank <= the smallest width.")
    if m + h < n + r:
        return LearningCoefficient((h * m - h * r + n * r) / 2, 1)
    if n + h < m + r:
        return LearningCoefficient((h * n - h * r + m * r) / 2, 1)
    if m + n < h + r:
        return LearningCoefficient(m * n / 2, 1)
    even = (2 * (h + r) * (m + n) + 2 * m * n - (h + r) ** 2 - m**2 - n**2) / 8
    return LearningCoefficient(even, 1) if (m + h + n + r) % 2 == 0 else LearningCoefficient(even + 1 / 8, 2)


def deep_linear_network(widths: Sequence[int], rank: int) -> LearningCoefficient:
    """y = W_L ... W_1 x with the given layer widths H_0..H_L and a true map of the given rank.

    Aoyagi (2024), "Consideration on the learning efficiency of multiple-layered neural networks with linear units", Theorem 1.
    Raises UserError when no such map exists.
    """
    if len(widths) < 2 or min(widths) < 1 or not 0 <= rank <= min(widths):
        what = f"deep_linear_network with widths={list(widths)}, rank={rank}"
        raise UserError(what, "At least two widths, each at least 1, and 0 <= rank <= the smallest width.")
    excess = [h - rank for h in widths]
    chosen = _bottleneck(excess)
    ell, total = len(chosen) - 1, sum(chosen)
    base = (-(rank**2) + rank * (widths[0] + widths[-1])) / 2
    pairs = sum(a * b for a, b in itertools.combinations(chosen, 2)) / 2
    a = total - (math.ceil(total / ell) - 1) * ell
    return LearningCoefficient(base + a * (ell - a) / (4 * ell) - (ell - 1) * total**2 / (4 * ell) + pairs, a * (ell - a) + 1)


def _bottleneck(excess: Sequence[int]) -> list[int]:
    """The layers that matter: the set Σ of ℓ + 1 smallest excess widths with ℓ·max Σ <= sum Σ < ℓ·min(rest)."""
    ordered = sorted(excess)
    for size in range(2, len(ordered) + 1):
        inside, rest = ordered[:size], ordered[size:]
        ell, total = size - 1, sum(inside)
        if total >= ell * inside[-1] and (not rest or (inside[-1] < rest[0] and total < ell * rest[0])):
            return inside
    # Equal widths at the edge of the set leave the strict conditions without a solution; λ is continuous there, so take the loose ones.
    for size in range(2, len(ordered) + 1):
        inside, rest = ordered[:size], ordered[size:]
        if sum(inside) >= (size - 1) * inside[-1] and (not rest or sum(inside) <= (size - 1) * rest[0]):
            return inside
    raise AssertionError(f"no bottleneck among {list(excess)}")


def monomial(powers: Sequence[int]) -> LearningCoefficient:
    """K(w) = Π w_j^{2 k_j}: λ = min 1/(2 k_j), m = how many attain it (Watanabe 2009, section 3). Coordinates with k = 0 are free.

    Raises UserError for powers that are negative or all 0.
    """
    if not powers or min(powers) < 0 or max(powers) == 0:
        raise UserError(f"monomial with powers={list(powers)}", "Whole numbers, none negative, at least one positive.")
    top = max(powers)
    return LearningCoefficient(1 / (2 * top), sum(k == top for k in powers))


def quadratic(curvatures: Sequence[float]) -> LearningCoefficient:
    """K(w) = ½ Σ h_i w_i² with all h_i > 0: a regular model, λ = d/2. Raises UserError for curvatures that are not positive."""
    if not curvatures or min(curvatures) <= 0:
        raise UserError(f"quadratic with curvatures={list(curvatures)}", "Positive numbers.")
    return LearningCoefficient(len(curvatures) / 2, 1)


def quadratic_sgld(curvatures: Sequence[float], n_beta: float, localization: float, lr: float) -> float:
    """nβ E[K] of SGLD on ½ Σ h_i w_i²: each coordinate is an AR(1) process.

    (nβ/2) Σ h_i / [a_i (1 - ε a_i / 4)] with a_i = nβ h_i + γ; stable for ε a_i < 4. Tends to d/2 as ε -> 0 when γ = 0.
    Raises UserError for a step size that is unstable.
    """
    total = 0.0
    for h in curvatures:
        a = n_beta * h + localization
        if lr * a >= 4:
            raise UserError(f"lr = {lr} is unstable for curvature {h}: lr·(n_beta·h + localization) = {lr * a:g}", "It must stay below 4.")
        total += h / (a * (1 - lr * a / 4))
    return n_beta / 2 * total


def monomial_at(powers: Sequence[int], n_beta: float, localization: float) -> float:
    """E[nβ K] under exp(-nβ K - γ |w|²/2) for K = Π w_j^{2 k_j}, by quadrature to about 1e-6.

    One coordinate under a flat prior (γ = 0): 1/(2k) at every nβ. Otherwise log K is a sum of independent 2 k_j log|w_j| with w_j normal
    of variance 1/γ, so its density is a convolution, and both E's are one-dimensional integrals over it. For w1² w2² this tends to ½ only
    as 1/log nβ (0.361 at 144.8, 0.412 at 10⁴ for γ = 1): samplers are held to this value, not to λ.
    Raises UserError where nothing confines a coordinate.
    """
    active = [k for k in powers if k > 0]
    if localization == 0:
        if len(active) != 1:
            raise UserError(f"monomial with powers={list(powers)} and localization 0 has no posterior", "Give a positive localization.")
        return 1 / (2 * active[0])
    import numpy as np  # only here: a manifest that names cases is checked without it

    spacing, top = 0.01, max(active)
    low = -math.log(n_beta) - 40 * top  # left tails fall like exp(s / 2k)
    reach = int((2 * top * math.log(40 / math.sqrt(localization)) - low) / spacing) + 1
    density, start = np.ones(1), 0.0
    for k in active:
        s = low + spacing * np.arange(reach)
        part = np.exp(s / (2 * k) - localization * np.exp(s / k) / 2)
        size = density.size + part.size - 1
        density = np.fft.irfft(np.fft.rfft(density, size) * np.fft.rfft(part, size), size)
        density, start = np.maximum(density / density.max(), 0.0), start + low
    # The FFT's rounding floor, 1e-16 of the maximum, lies far left of s = -log nβ, where the weight sits.
    t = n_beta * np.exp(np.minimum(start + spacing * np.arange(density.size), 300.0))
    weight = density * np.exp(-np.minimum(t, 700.0))
    return float((weight * t).sum() / weight.sum())
