"""Cases with a known learning coefficient, in the form that `certify` takes: a `family`, its numbers, and optionally what to run it at.

    {"family": "reduced_rank_regression", "inputs": 5, "hidden": 3, "outputs": 5, "rank": 0}
    {"family": "deep_linear_network", "widths": [10, 10, 10], "rank": 5}
    {"family": "monomial", "powers": [1, 1]}           with "n_beta" (and "localization"): its value at that temperature
    {"family": "quadratic", "curvatures": [1.0, 4.0]}  with "n_beta" and "lr" (and "localization"): the discretised sampler's own value

A case with "n_beta" is held to the exact value at that temperature. A case may state "lambda" and "multiplicity" itself; it is then held to
that λ, at whatever temperature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import UserError
from .learning_coefficients import (
    LearningCoefficient,
    deep_linear_network,
    monomial,
    monomial_at,
    quadratic,
    quadratic_sgld,
    reduced_rank_regression,
)

_NUMBERS = {
    "reduced_rank_regression": ("inputs", "hidden", "outputs", "rank"),
    "deep_linear_network": ("widths", "rank"),
    "monomial": ("powers",),
    "quadratic": ("curvatures",),
}
_OPTIONAL = ("family", "lambda", "multiplicity", "n_beta", "localization", "lr")


class Expected(NamedTuple):
    """What a sampler should find: λ as the case states it (else the theorem's), its multiplicity, by how much the estimate may be off,
    relative, and λ as the theorem has it."""

    value: float
    multiplicity: int
    tolerance: float
    theorem: float


def check_case(case: Mapping[str, Any]) -> str:
    """The case's family. Raises UserError when the family is unknown, or a number is missing or unknown."""
    family = case.get("family")
    if family not in _NUMBERS:
        raise UserError(f"certify case with family = {family!r}", f"Families: {', '.join(_NUMBERS)}.")
    for key in _NUMBERS[family]:
        if key not in case:
            raise UserError(f"certify case {dict(case)} lacks {key!r}", f"{family} needs {', '.join(_NUMBERS[family])}.")
    for key in case:
        if key not in _NUMBERS[family] and key not in _OPTIONAL:
            raise UserError(f"certify case with unknown key {key!r}", f"{family} takes {', '.join((*_NUMBERS[family], *_OPTIONAL))}.")
    return str(family)


def case_name(case: Mapping[str, Any]) -> str:
    """A short name: family, its numbers, and the settings it was given."""
    family = check_case(case)
    numbers = ", ".join(str(case[key]) if key != "rank" else f"rank {case[key]}" for key in _NUMBERS[family])
    given = "".join(f", {key} {case[key]:g}" for key in ("n_beta", "localization", "lr") if key in case)
    return f"{family.replace('_', ' ')} {numbers}{given}"


def learning_coefficient(case: Mapping[str, Any]) -> LearningCoefficient:
    """λ and multiplicity of a case, by its family's theorem."""
    family = check_case(case)
    if family == "reduced_rank_regression":
        return reduced_rank_regression(case["inputs"], case["hidden"], case["outputs"], case["rank"])
    if family == "deep_linear_network":
        return deep_linear_network(case["widths"], case["rank"])
    return monomial(case["powers"]) if family == "monomial" else quadratic(case["curvatures"])


def expected(case: Mapping[str, Any]) -> Expected:
    """λ of a case, by its family's theorem or as the case states it. Raises UserError where its settings have no posterior."""
    family, exact = check_case(case), learning_coefficient(case)
    if case.get("localization", 1.0) < 0 or (
        family in ("reduced_rank_regression", "deep_linear_network") and case.get("localization") == 0
    ):
        raise UserError(f"{case_name(case)} has no posterior", "Its valley has no end: give a positive localization.")
    n_beta = case.get("n_beta", 100.0)
    if n_beta <= 0:
        raise UserError(f"certify case with n_beta = {n_beta!r}", "It must be positive.")
    if "lr" in case:
        sampler_at(case, n_beta, case.get("localization", 0.0), case["lr"])
    if family == "monomial" and "localization" in case:
        monomial_at(case["powers"], n_beta, case["localization"])  # refuses where there is no posterior
    return Expected(case.get("lambda", exact.value), case.get("multiplicity", exact.multiplicity), 0.1, exact.value)


def posterior_at(case: Mapping[str, Any], n_beta: float, localization: float) -> float | None:
    """E[nβK] of the posterior at this temperature, in closed form or by quadrature; None for linear networks, which have neither."""
    family = check_case(case)
    if family == "quadratic":
        return math.fsum(n_beta * h / (n_beta * h + localization) for h in case["curvatures"]) / 2
    return monomial_at(case["powers"], n_beta, localization) if family == "monomial" else None


def sampler_at(case: Mapping[str, Any], n_beta: float, localization: float, lr: float) -> float | None:
    """nβ E[K] of SGLD itself at a step of `lr`: known where the chain is an AR(1) process, for quadratics."""
    return quadratic_sgld(case["curvatures"], n_beta, localization, lr) if check_case(case) == "quadratic" else None


ALL: tuple[dict[str, Any], ...] = (
    {"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0], "n_beta": 100.0, "lr": 1e-3},
    {"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0], "n_beta": 100.0, "lr": 4e-3},
    {"family": "monomial", "powers": [1], "n_beta": 100.0},
    {"family": "monomial", "powers": [2], "n_beta": 100.0},
    {"family": "monomial", "powers": [3], "n_beta": 100.0},
    {"family": "monomial", "powers": [1, 1], "n_beta": 144.8, "localization": 1.0},
    {"family": "monomial", "powers": [1, 1], "n_beta": 1e4, "localization": 1.0},
    {"family": "monomial", "powers": [0, 1], "lambda": 1 / 2},
    {"family": "monomial", "powers": [1, 1], "lambda": 1 / 2},
    {"family": "monomial", "powers": [0, 2], "lambda": 1 / 4},
    {"family": "monomial", "powers": [1, 2], "lambda": 1 / 4},
    {"family": "monomial", "powers": [0, 3], "lambda": 1 / 6},
    {"family": "monomial", "powers": [2, 3], "lambda": 1 / 6},
    {"family": "reduced_rank_regression", "inputs": 5, "hidden": 3, "outputs": 5, "rank": 0, "lambda": 6.5, "multiplicity": 2},
    {"family": "reduced_rank_regression", "inputs": 5, "hidden": 4, "outputs": 5, "rank": 0, "lambda": 8.0, "multiplicity": 1},
    {"family": "reduced_rank_regression", "inputs": 4, "hidden": 3, "outputs": 8, "rank": 0, "lambda": 6.0, "multiplicity": 1},
    {"family": "reduced_rank_regression", "inputs": 8, "hidden": 3, "outputs": 4, "rank": 0, "lambda": 6.0, "multiplicity": 1},
    {"family": "reduced_rank_regression", "inputs": 3, "hidden": 8, "outputs": 4, "rank": 0, "lambda": 6.0, "multiplicity": 1},
    {"family": "reduced_rank_regression", "inputs": 5, "hidden": 4, "outputs": 5, "rank": 2, "lambda": 10.5, "multiplicity": 1},
    {"family": "deep_linear_network", "widths": [10, 10, 10], "rank": 5, "lambda": 47.0, "multiplicity": 2},
    {"family": "deep_linear_network", "widths": [10, 10, 10, 10], "rank": 5, "lambda": 46.0, "multiplicity": 3},
    {"family": "deep_linear_network", "widths": [6, 5, 4, 5, 6], "rank": 2, "lambda": 12.5, "multiplicity": 1},
    {"family": "deep_linear_network", "widths": [5, 4, 4, 4, 4, 5], "rank": 1, "lambda": 7.5, "multiplicity": 1},
)
"""Every case that certify = "all" runs; λ from Aoyagi & Watanabe (2005) and Aoyagi (2024), copied; the last two by its Theorem 1."""
