"""The paired baseline where the truth is exact, and what an error bar must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interp_tui_engine.api.sampling import sample_function
from interp_tui_engine.errors import UserError
from interp_tui_engine.estimators.diagnostics import convergence, mean_error, std_error
from interp_tui_engine.estimators.learning_coefficients import quadratic_sgld
from interp_tui_engine.estimators.llc import compute_llc

H = torch.linspace(0.5, 4.0, 24)
SETTINGS = {"lr": 2e-3, "n_beta": 100.0, "localization": 10.0}


@pytest.fixture(scope="module")
def samples():
    """½ Σ h w² plus an offset that is the row's own: rows 0.83 nats apart, as texts are."""
    rows = 0.83 * torch.randn(2048, 1, generator=torch.Generator().manual_seed(3))
    settings = {**SETTINGS, "num_chains": 4, "num_draws": 60, "num_burnin_steps": 40, "batch_size": 32, "num_init_loss_batches": 4}
    return sample_function(
        lambda p, b: (p["w"] ** 2 * H).sum() / 2 + b[:, 0], {"w": torch.zeros(24)}, rows, chains="serial", init_seed=3, **settings
    )


def test_rows_that_differ_by_far_more_than_sampling_moves_them_leave_the_estimate_alone(samples):
    truth = quadratic_sgld(H.tolist(), **{"n_beta": 100.0, "localization": 10.0, "lr": 2e-3})
    paired, init = compute_llc(samples), compute_llc(samples, "init")
    assert float(paired.llc_std_error) < 0.1 * truth
    assert abs(float(paired.llc_mean) - truth) < 4 * float(paired.llc_std_error)
    assert float(paired.llc_low) < float(paired.llc_mean) < float(paired.llc_high)
    # A batch's mean is known to 0.83/√32 nats, and λ̂ takes a hundred times the difference of few of them.
    offset = 100 * 0.83 / math.sqrt(32) * math.sqrt(1 / 4 + 1 / 60)
    assert float(init.llc_std_error) == pytest.approx(offset, rel=0.35), "devinterp's number says how far it may be out"
    assert abs(float(init.llc_mean) - truth) < 4 * float(init.llc_std_error)
    assert (paired.attrs["baseline"], init.attrs["baseline"]) == ("paired", "init")
    with pytest.raises(UserError, match="'paired' or 'init'"):
        compute_llc(samples, "pair")


def test_chains_apart_are_seen_through_the_noise_of_their_batches():
    rng = np.random.default_rng(0)
    rise = 0.3 + 0.01 * rng.normal(size=(4, 80)) + np.array([[-0.05], [0.05], [0.0], [0.02]])
    batches = 0.8 * rng.normal(size=(1, 80))
    blind, seeing = convergence(rise + batches), convergence(rise)
    assert blind.rhat < 1.05 and blind.ess > 200
    assert seeing.rhat > 3 and seeing.ess < 10
    assert mean_error(rise).std_error == pytest.approx(rise.mean(1).std(ddof=1) / 2, rel=0.5)


def ar1(rng: np.random.Generator, chains: int, draws: int, rho: float) -> np.ndarray:
    found = np.empty((chains, draws))
    found[:, 0] = rng.normal(size=chains)
    for t in range(1, draws):
        found[:, t] = rho * found[:, t - 1] + math.sqrt(1 - rho**2) * rng.normal(size=chains)
    return found


@pytest.mark.parametrize("common", [0.0, 1.0], ids=["chains alone", "and what their batches do to all"])
def test_the_interval_covers_what_it_says(common):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        trace = ar1(rng, 4, 100, 0.8) + common * rng.normal(size=(1, 100))
        hits += abs(trace.mean()) < mean_error(trace).half_width
    assert 0.92 <= hits / 200 <= 0.99


def test_few_effective_draws_widen_the_interval_beyond_two_errors():
    trace = ar1(np.random.default_rng(2), 2, 60, 0.97)
    found = mean_error(trace)
    assert found.half_width > 2.3 * found.std_error
    assert mean_error(np.ones((2, 50))) == (None, None) and mean_error(np.empty((0, 0))) == (None, None)
    assert std_error(trace, None) > 0, "from the chains' means alone, while there are too few draws for an ESS"
