"""The sampler on problems whose answer is known; the long ones run in `certify` itself."""

from __future__ import annotations

import functools

import pytest
import torch

from in_process import run_whole
from interp_tui_engine import manifest
from interp_tui_engine.errors import UserError
from interp_tui_engine.estimators import known_cases
from interp_tui_engine.events import RunStarted
from interp_tui_engine.samplers import sgld
from interp_tui_engine.samplers.certification.certify import Target, certify_case
from interp_tui_engine.samplers.certification.toy import LinearNetwork, Monomial, Quadratic
from interp_tui_engine.samplers.philox import PhiloxSource


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
    {"family": "monomial", "powers": [1, 1], "n_beta": 1e4, "localization": 1.0},
    {"family": "deep_linear_network", "widths": [3, 2, 2, 3], "rank": 1, "n_beta": 50.0},
]


def certified(case, *, seed=0, noise="torch", **held_to):
    e = known_cases.expected(case)
    exact = functools.partial(known_cases.posterior_at, case), functools.partial(known_cases.sampler_at, case)
    target = Target(*e, *exact)._replace(**held_to)
    return certify_case(case, known_cases.case_name(case), target, seed, noise)


@pytest.mark.parametrize("case", CASES, ids=known_cases.case_name)
def test_the_sampler_finds_what_is_known(case):
    result = certified(case)
    assert result.passed, result
    assert result.raw == pytest.approx(result.estimate + result.step_bias + result.finite_temperature)


@pytest.mark.parametrize(
    "case",
    [
        {"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0], "n_beta": 100.0, "lr": 1e-3},
        {"family": "monomial", "powers": [2], "n_beta": 30.0},
        {"family": "deep_linear_network", "widths": [3, 2, 2, 3], "rank": 1, "n_beta": 50.0},
    ],
    ids=known_cases.case_name,
)
def test_the_sampler_finds_it_with_noise_from_a_counter_too(case):
    result = certified(case, noise="philox")
    assert result.passed, result
    assert result.raw != certified(case).raw, "it is other noise"


def test_noise_from_a_counter_that_is_off_by_a_twentieth_does_not_pass(monkeypatch):
    fill = PhiloxSource.fill
    monkeypatch.setattr(PhiloxSource, "fill", lambda self, *where: fill(self, *where).mul_(1.05))
    assert not certified({"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0], "n_beta": 100.0, "lr": 1e-3}, noise="philox").passed


@pytest.mark.parametrize(("compute", "noise"), [("", "torch"), ("[compute]\nnoise = 'philox'\n", "philox")])
def test_a_certificate_says_which_noise_it_is_of(compute, noise, tmp_path):
    case = '{ family = "quadratic", curvatures = [1.0, 2.0], n_beta = 100.0, lr = 1e-3 }'
    request = manifest.parse(f'kind = "certify"\nname = "t"\n{compute}[params]\ncases = [{case}]\n')
    result, events = run_whole(request, tmp_path / "run")
    assert result.values["noise"] == noise and result.values["passed"]
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.provenance["compute"]["noise"] == noise
    assert ("Philox" in result.report) == (noise == "philox")


def test_a_wrong_value_at_the_temperature_does_not_pass():
    result = certified({"family": "monomial", "powers": [1], "n_beta": 30.0}, exact_at=lambda n_beta, gamma: 0.52)
    assert not result.passed and result.measurements == 2
    assert "errors from the exact value" in result.reason


def test_a_wrong_learning_coefficient_does_not_pass():
    result = certified({"family": "monomial", "powers": [2], "lambda": 0.3})
    assert not result.passed and "from λ" in result.reason


def test_a_direction_that_cannot_relax_fails_and_says_so():
    result = certified({"family": "quadratic", "curvatures": [1e-6, 1.0]})
    assert not result.passed and "steps to relax" in result.reason


def test_a_step_that_is_too_large_fails_and_says_so():
    result = certified({"family": "monomial", "powers": [2], "n_beta": 30.0, "lr": 10.0})
    assert not result.passed and "step is too large" in result.reason


def test_a_kernel_whose_noise_is_off_by_a_twentieth_does_not_pass(monkeypatch):
    step = sgld.step
    monkeypatch.setattr(sgld, "step", lambda state, gradient, drawn, *rest: step(state, gradient, drawn.mul_(1.05), *rest))
    assert not certified({"family": "deep_linear_network", "widths": [3, 2, 2, 3], "rank": 1, "n_beta": 50.0}).passed


@pytest.mark.parametrize(
    "family", [{"family": "deep_linear_network", "widths": [3, 2, 3], "rank": 1}, {"family": "monomial", "powers": [1, 1]}]
)
def test_a_valley_without_end_is_refused(family):
    with pytest.raises(UserError, match="no posterior"):
        known_cases.expected({**family, "localization": 0.0})
