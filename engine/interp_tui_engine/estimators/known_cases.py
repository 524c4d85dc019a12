"""Cases with a known learning coefficient, in the form that `certify` takes: a `family`, its numbers, and optionally what to run it at.

    {"family": "reduced_rank_regression", "inputs": 5, "hidden": 3, "outputs": 5, "rank": 0}
    {"family": "deep_linear_network", "widths": [10, 10, 10], "rank": 5}
    {"family": "monomial", "powers": [1, 1]}           with "n_beta" (and "localization"): its value at that temperature
    {"family": "quadratic", "curvatures": [1.0, 4.0]}  with "n_beta" and "lr" (and "localization"): the discretised sampler's own value

A case may state "lambda" and "multiplicity" itself; "lambda" is then what the sampler is held to.
"""

from __future__ import annotations

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
    """What a sampler should find.

    value: λ, or the exact value at the case's own n_beta and lr. tolerance: allowed relative error; None: within three standard errors.
    multiplicity: of λ.
    """

    value: float
    multiplicity: int
    tolerance: float | None


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
    """What a correct sampler finds on this case."""
    family, exact = check_case(case), learning_coefficient(case)
    if family == "quadratic" and "lr" in case:
        value = quadratic_sgld(case["curvatures"], case["n_beta"], case.get("localization", 0.0), case["lr"])
        return Expected(value, exact.multiplicity, None)
    if family == "monomial" and "n_beta" in case:
        return Expected(monomial_at(case["powers"], case["n_beta"], case.get("localization", 0.0)), exact.multiplicity, 0.03)
    return Expected(case.get("lambda", exact.value), case.get("multiplicity", exact.multiplicity), 0.1)


def finite_temperature(case: Mapping[str, Any], n_beta: float, localization: float) -> float | None:
    """Exact E[nβK] - λ at this temperature, where it is known: for monomials."""
    if check_case(case) != "monomial":
        return None
    return monomial_at(case["powers"], n_beta, localization) - monomial(case["powers"]).value


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
)
"""Every case that certify = "all" runs; λ from Aoyagi & Watanabe (2005) and Aoyagi (2024), copied, not computed."""
