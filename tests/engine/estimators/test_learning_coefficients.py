"""Exact answers against the literature's numbers, copied here, and against each other."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_tui_engine.errors import UserError
from interp_tui_engine.estimators import known_cases
from interp_tui_engine.estimators import learning_coefficients as lc


@pytest.mark.parametrize(
    ("shape", "value", "multiplicity"),
    [
        ((5, 3, 5, 0), 6.5, 2),
        ((5, 4, 5, 0), 8.0, 1),
        ((4, 3, 8, 0), 6.0, 1),
        ((8, 3, 4, 0), 6.0, 1),
        ((3, 8, 4, 0), 6.0, 1),
        ((5, 4, 5, 2), 10.5, 1),
    ],
)
def test_reduced_rank_regression(shape, value, multiplicity):
    assert lc.reduced_rank_regression(*shape) == (value, multiplicity)


@pytest.mark.parametrize(("widths", "value", "multiplicity"), [([10, 10, 10], 47.0, 2), ([10, 10, 10, 10], 46.0, 3)])
def test_deep_linear_network(widths, value, multiplicity):
    found = lc.deep_linear_network(widths, 5)
    assert found.value == pytest.approx(value) and found.multiplicity == multiplicity


@pytest.mark.parametrize(
    ("powers", "value", "m"),
    [([0, 1], 1 / 2, 1), ([1, 1], 1 / 2, 2), ([0, 2], 1 / 4, 1), ([1, 2], 1 / 4, 1), ([0, 3], 1 / 6, 1), ([2, 3], 1 / 6, 1)],
)
def test_monomials(powers, value, m):
    assert lc.monomial(powers) == (value, m)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.data())
def test_two_layers_agree_between_the_two_theorems(m, h, n, data):
    r = data.draw(st.integers(0, min(m, h, n)))
    two, deep = lc.reduced_rank_regression(m, h, n, r), lc.deep_linear_network([m, h, n], r)
    assert deep.value == pytest.approx(two.value) and deep.multiplicity == two.multiplicity
    assert lc.reduced_rank_regression(n, h, m, r) == two  # transposing changes nothing
    assert 0 <= two.value <= (m * h + h * n) / 2


def test_quadratic_sgld_tends_to_half_the_dimension():
    h = [0.5, 2.0, 9.0]
    assert lc.quadratic(h) == (1.5, 1)
    assert lc.quadratic_sgld(h, 100.0, 0.0, 1e-9) == pytest.approx(1.5, rel=1e-6)
    assert lc.quadratic_sgld(h, 100.0, 50.0, 1e-9) == pytest.approx(sum(50 * x / (100 * x + 50) for x in h), rel=1e-6)
    with pytest.raises(UserError, match="unstable"):
        lc.quadratic_sgld(h, 100.0, 0.0, 0.01)


def test_monomials_at_finite_temperature():
    assert lc.monomial_at([1, 1], 144.8, 1.0) == pytest.approx(0.361, abs=5e-4)
    assert lc.monomial_at([1, 1], 1e4, 1.0) == pytest.approx(0.412, abs=5e-4)
    for k in (1, 2, 3):
        assert lc.monomial_at([0, k], 77.0, 0.0) == 1 / (2 * k)
    # one coordinate with a Gaussian prior: E[n w²] = n / (2n + γ)
    assert lc.monomial_at([1], 30.0, 5.0) == pytest.approx(30 / 65, rel=1e-5)


def test_monomials_at_finite_temperature_by_direct_quadrature():
    from scipy.integrate import dblquad

    def weight(b: float, a: float) -> float:
        return math.exp(-50 * a**4 * b**2 - (a * a + b * b) / 2)

    top, _ = dblquad(lambda b, a: 50 * a**4 * b**2 * weight(b, a), 0, 9, 0, 9, epsabs=1e-6)
    bottom, _ = dblquad(weight, 0, 9, 0, 9, epsabs=1e-6)
    assert lc.monomial_at([2, 1], 50.0, 1.0) == pytest.approx(top / bottom, rel=1e-4)


def test_every_known_case_states_the_theorems_value():
    for case in known_cases.ALL:
        if "lambda" in case:
            assert known_cases.learning_coefficient(case).value == pytest.approx(case["lambda"]), case
        assert known_cases.case_name(case)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"family": "cubic"}, "family = 'cubic'"),
        ({"family": "monomial"}, "lacks 'powers'"),
        ({"family": "monomial", "powers": [1], "power": 2}, "unknown key 'power'"),
        ({"family": "reduced_rank_regression", "inputs": 2, "hidden": 2, "outputs": 2, "rank": 3}, "rank=3"),
        ({"family": "deep_linear_network", "widths": [3], "rank": 1}, "widths"),
        ({"family": "quadratic", "curvatures": [0.0]}, "curvatures"),
    ],
)
def test_impossible_cases_are_the_users_errors(case, message):
    with pytest.raises(UserError, match=message):
        known_cases.expected(case)
