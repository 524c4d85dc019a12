"""The LLC by hand from a store, and convergence numbers where they are defined and where not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.estimators.diagnostics import LiveDiagnostics, convergence, healthy_block, std_error
from interp_tui_engine.estimators.llc import compute_llc

RNG = np.random.default_rng(0)


def tree(losses: np.ndarray, init: float = 1.0, burnin: int = 0, **attrs: object) -> xr.DataTree:
    chains, _, _, positions = losses.shape
    sampler = {"n_beta": 10.0, "num_burnin_steps": burnin}
    data = {
        "sampling_loss_micro": (("chain", "step", "batch_sampling", "token_pos"), losses.astype("float32")),
        "init_loss": (("chain", "token_pos"), np.full((chains, positions), init, "float32")),
    }
    return xr.DataTree(xr.Dataset(data, attrs={"metadata": {"config": {"sampler": sampler}}, **attrs}))


def test_llc_by_hand():
    losses = 1.5 + RNG.normal(size=(3, 20, 2, 4)) * 0.1
    found = compute_llc(tree(losses))
    per_chain = 10 * (losses.mean(axis=(1, 2, 3)) - 1)
    np.testing.assert_allclose(found.llc_per_chain, per_chain, rtol=1e-5)
    assert float(found.llc_mean) == pytest.approx(per_chain.mean(), rel=1e-5)
    assert float(found.llc_std) == pytest.approx(per_chain.std(ddof=0), rel=1e-3)
    assert float(found.llc_scalar) == pytest.approx(10 * (losses.mean() - 1), rel=1e-5)
    assert found.loss_trace.shape == (3, 20) and float(found.init_loss) == 1


def test_burn_in_and_failed_chains_stay_out():
    losses = np.full((3, 10, 2, 4), 1.5)
    losses[:, :4] = 100
    losses[1] = np.nan
    found = compute_llc(tree(losses, burnin=4))
    assert float(found.llc_mean) == pytest.approx(5.0)
    assert found.attrs == {"healthy_chains": [0, 2], "failed_chains": [1], "baseline": "init"}
    assert math.isnan(float(found.llc_per_chain[1]))
    losses[1] = 7.0
    assert compute_llc(tree(losses, burnin=4, failed_chains={"1": {}})).attrs["healthy_chains"] == [0, 2]


def test_no_samples_and_no_healthy_chain():
    with pytest.raises(RunFailed):
        compute_llc(tree(np.full((2, 3, 1, 1), np.nan)))
    with pytest.raises(UserError, match="metadata"):
        compute_llc(xr.DataTree(xr.Dataset()))


def test_rhat_and_ess_are_arvizs_on_healthy_chains():
    from arviz_stats.base import array_stats

    trace = RNG.normal(size=(4, 100))
    whole = convergence(trace)
    assert whole.rhat == pytest.approx(float(array_stats.rhat(trace, chain_axis=0, draw_axis=1, method="split")))
    assert whole.ess == pytest.approx(float(array_stats.ess(trace, chain_axis=0, draw_axis=1, method="bulk")))
    with_failed = np.vstack([trace, np.full((1, 100), np.nan)])
    assert convergence(with_failed) == whole
    stuck = trace + np.array([[0], [0], [0], [10]])
    assert convergence(stuck).rhat > 1.5


@pytest.mark.parametrize("trace", [np.empty((0, 0)), np.full((2, 9), np.nan), RNG.normal(size=(4, 3)), np.ones((2, 50))])
def test_undefined_is_none_never_nan(trace):
    assert convergence(trace) == (None, None)


def test_one_chain_has_ess_and_no_rhat():
    found = convergence(RNG.normal(size=(1, 50)))
    assert found.rhat is None and found.ess is not None


def test_chains_that_run_in_turn_are_compared_only_once_they_have_drawn():
    trace = np.full((3, 100), np.nan)
    trace[0], trace[1, :2] = 1.0, 2.0
    assert healthy_block(trace).shape == (1, 100)
    trace[1] = 2.0
    assert healthy_block(trace).shape == (2, 100)


def test_std_error_of_independent_draws():
    trace = RNG.normal(size=(4, 2000))
    error = std_error(trace, convergence(trace).ess)
    assert error == pytest.approx(1 / math.sqrt(8000), rel=1.5)  # between chains: 3 degrees of freedom
    assert error >= 0.9 / math.sqrt(8000)
    assert std_error(trace[:1, :1], None) is None


def test_live_diagnostics_follow_a_growing_trace():
    trace = RNG.normal(size=(4, 400))
    live = LiveDiagnostics(0.0, 2.0)
    assert live.update(np.full((4, 400), np.nan)) == (None, None, None, None)
    for n in (2, 10, 11, 390, 395):
        partial = np.where(np.arange(400) < n, trace, np.nan)
        found = live.update(partial)
        assert found.llc == pytest.approx(2 * trace[:, :n].mean())
    assert found.ess == pytest.approx(convergence(trace[:, :390]).ess * 395 / 390)
    assert found.rhat is not None and found.llc_std_error is not None
