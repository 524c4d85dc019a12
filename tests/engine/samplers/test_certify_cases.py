"""The sampler on problems whose answer is known; the long ones run in `certify` itself."""

from __future__ import annotations

import functools

import pytest
import torch

from interp_tui_engine.estimators import known_cases
from interp_tui_engine.samplers.certification.certify import Target, certify_case
from interp_tui_engine.samplers.certification.toy import LinearNetwork, Monomial, Quadratic


@pytest.mark.parametrize(
    "loss",
    [Quadratic([1.0, 3.0]), Monomial([1, 2]), Monomial([0, 3, 1]), LinearNetwork((3, 2, 4), 1), LinearNetwork((3, 4, 3, 2), 2)],
    ids=["quadratic", "monomial", "monomial with a free weight", "reduced rank", "deep linear"],
)
def test_gradients_are_those_of_the_loss_and_vanish_at_the_anchor(loss):
    w = (loss.anchor + torch.randn(5, loss.anchor.numel())).requires_grad_(True)
    (want,) = torch.autograd.grad(loss.loss(w).sum(), w)
    torch.testing.assert_close(loss.gradient(w.detach()), want, rtol=1e-4, atol=1e-4)
    assert float(loss.loss(loss.anchor[None])) == 0 and not loss.gradient(loss.anchor[None]).any()


CASES = [
    {"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0], "n_beta": 100.0, "lr": 1e-3},
    {"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0], "n_beta": 100.0, "lr": 4e-3},
    {"family": "quadratic", "curvatures": [1.0, 2.0], "n_beta": 50.0, "lr": 4e-3, "localization": 20.0},
    {"family": "monomial", "powers": [1], "n_beta": 100.0},
    {"family": "monomial", "powers": [2], "n_beta": 30.0},
    {"family": "monomial", "powers": [3], "n_beta": 100.0},
    {"family": "monomial", "powers": [1, 1]},
    {"family": "monomial", "powers": [1, 1], "n_beta": 144.8, "localization": 1.0},
]


@pytest.mark.parametrize("case", CASES, ids=known_cases.case_name)
def test_the_sampler_finds_what_is_known(case):
    e = known_cases.expected(case)
    target = Target(e.value, e.multiplicity, e.tolerance, functools.partial(known_cases.finite_temperature, case))
    result = certify_case(case, known_cases.case_name(case), target, seed=0)
    assert result.passed, result
    assert result.raw == pytest.approx(result.estimate + result.step_bias + result.finite_temperature)


def test_a_wrong_answer_does_not_pass():
    case = {"family": "monomial", "powers": [2], "n_beta": 30.0}
    assert not certify_case(case, "x", Target(0.3, 1, 0.1, lambda n, g: None), seed=0).passed
