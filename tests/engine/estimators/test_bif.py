"""Influence: against the definition, against devinterp on its own samples, against an exact case; blocks, budgets, constant rows."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
import xarray as xr
from stores import gaussian_draws, noisy, store

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.estimators.bif import compute_bif
from interp_tui_engine.estimators.bif_errors import agreement, errors, floor, half_matrices
from interp_tui_engine.estimators.bif_traces import standardised
from interp_tui_engine.estimators.exchange import SWAPS, exchanges
from references.bif import influence

ALL = [
    (m, r, c, a)
    for m, r, c, a in itertools.product(("token", "sequence"), ("stack", "mean"), (False, True), (False, True))
    if m == "token" or not a
]


def joined(data):
    """All observables, alphabetically."""
    return np.concatenate([data[obs] for obs in sorted(data)], axis=2)


@pytest.mark.parametrize("reduce", ["stack", "mean"])
@pytest.mark.parametrize("covariance", [False, True])
def test_against_the_definition(reduce, covariance):
    data = noisy(0, rows=2, positions=3)
    options = {"reduce_chain_dimension_method": reduce, "compute_covariance": covariance}
    want = influence(joined(data), reduce, covariance)
    found = compute_bif(store(data), **options)
    assert found["influences"].dims == ("batch_1", "batch_2", "target_position", "target_position_T")
    np.testing.assert_allclose(found["influences"].values, want, rtol=0, atol=2e-6)
    average = compute_bif(store(data), average_tokenwise_bif=True, **options)
    assert average["influences"].dims == ("batch_1", "batch_2")
    np.testing.assert_allclose(average["influences"].values, want.mean((2, 3)), rtol=0, atol=2e-6)
    by_sequence = compute_bif(store(data), correlation_method="sequence", **options)
    want = influence(joined(data).mean(3, keepdims=True), reduce, covariance)
    np.testing.assert_allclose(by_sequence["influences"].values, want[:, :, 0, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("method", "reduce", "covariance", "average"), ALL)
def test_equal_to_devinterp_on_its_own_samples(recorded, devinterp_stores, method, reduce, covariance, average):
    found = engine.compute_bif(
        devinterp_stores["full"],
        correlation_method=method,
        reduce_chain_dimension_method=reduce,
        compute_covariance=covariance,
        average_tokenwise_bif=average,
    )
    name = f"bif/{method}/{reduce}/{covariance}/{average}"
    theirs = recorded[f"{name}/influences"]
    assert list(found["influences"].dims) == recorded[f"{name}/dims"].tolist()
    np.testing.assert_allclose(found["influences"].values, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    if method == "token" and not average:
        for key in ("target_position", "input_ids"):
            assert found[key].values.tolist() == recorded[f"{name}/{key}"].tolist()


def test_an_exact_case():
    """Losses g.w + c over a Gaussian posterior: their covariance is g' Sigma g with the Sigma of the discretised process."""
    h, lr, n_beta, gamma, chains, draws = torch.tensor([1.0, 2.0, 5.0]), 4e-3, 20.0, 10.0, 20, 400
    g = np.array([[1.0, 0, 0], [1, 1, 0], [0, -1, 1], [0.5, 0, 2]])
    w = gaussian_draws(h, None, 0, n_beta=n_beta, localization=gamma, lr=lr, chains=chains, draws=draws)
    found = compute_bif(store({"probe": (w @ g.T + 2.0)[..., None]}), compute_covariance=True)["influences"].values[:, :, 0, 0]
    a = (n_beta * h + gamma).double().numpy()
    want = (g / (a * (1 - lr * a / 4))) @ g.T
    # products of an AR(1) process with factor r forget like r^2: they are worth n (1 - r^2) / (1 + r^2) independent ones
    slowest = ((1 - lr * a / 2) ** 10).max() ** 2
    ess = chains * draws * (1 - slowest) / (1 + slowest)
    error = np.sqrt((want**2 + np.outer(np.diag(want), np.diag(want))) / ess)
    assert (np.abs(found - want) < 4 * error).all()
    assert error.max() < 0.05 * want.max()


def test_blocks_budgets_and_zarr_change_nothing(tmp_path):
    data = noisy(3, rows=7, positions=4)
    whole = compute_bif(store(data))["influences"].values
    for options in ({"batch_size": 3}, {"memory_budget": 4000}, {"output_path": tmp_path / "bif.zarr", "batch_size": 4}):
        found = compute_bif(store(data), **options)
        np.testing.assert_allclose(found["influences"].values, whole, rtol=0, atol=1e-6)
    reread = xr.open_zarr(tmp_path / "bif.zarr", consolidated=False)
    assert reread["input_ids"].shape == (14, 5) and reread.attrs["observables"] == ["code", "pile"] and reread.attrs["rows"] == [7, 7]


def test_a_result_beyond_the_budget_never_enters_memory():
    data = noisy(3, rows=40, positions=8, observables=("pile",))
    given = store(data)
    result, budget = 4 * 40 * 40 * 64, 100_000
    assert result > 4 * budget
    compute_bif(given, memory_budget=budget)  # imports and caches are not what is measured
    tracemalloc.start()
    found = compute_bif(given, memory_budget=budget)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result, f"{peak} bytes at once for a result of {result}"
    assert found["influences"].shape == (40, 40, 8, 8)


def test_a_result_goes_on_where_it_was_cut_short(tmp_path):
    data = noisy(4, rows=5)
    seen = []

    class Cut(Exception):
        pass

    def cut(done, total):
        seen.append((done, total))
        if done == 6:
            raise Cut

    with pytest.raises(Cut):
        compute_bif(store(data), output_path=tmp_path / "b.zarr", batch_size=3, on_block=cut)
    assert seen == [(3, 10), (6, 10)]
    again = []
    found = compute_bif(
        store(data), output_path=tmp_path / "b.zarr", batch_size=3, first_row=6, on_block=lambda done, total: again.append(done)
    )
    assert again == [9, 10]
    np.testing.assert_allclose(found["influences"].values, compute_bif(store(data))["influences"].values, rtol=0, atol=1e-6)


def test_losses_that_never_vary_are_null_and_named():
    data = noisy(5, rows=3, positions=4, observables=("pile",))
    data["pile"][:, :, 1, 2] = 0.7
    found = compute_bif(store(data))
    values = found["influences"].values
    assert found.attrs["constant"] == [[1, 2]] and found.attrs["constant_count"] == 1
    assert np.isnan(values[1, :, 2, :]).all() and np.isnan(values[:, 1, :, 2]).all()
    values[1, :, 2, :] = values[:, 1, :, 2] = 0
    assert np.isfinite(values).all()
    covariance = compute_bif(store(data), compute_covariance=True)["influences"].values
    assert (covariance[1, :, 2, :] == 0).all(), "a covariance with what never varies is 0, and known"
    average = compute_bif(store(data), average_tokenwise_bif=True)["influences"].values
    with_nan = compute_bif(store(data))["influences"].values
    np.testing.assert_allclose(average, np.nanmean(with_nan, axis=(2, 3)), rtol=0, atol=1e-6)


def test_failed_chains_are_left_out_and_rows_can_be_chosen():
    data = noisy(6)
    broken = {obs: np.concatenate([v, np.full_like(v[:1], np.nan)]) for obs, v in data.items()}
    found = compute_bif(store(broken))
    assert found.attrs["healthy_chains"] == [0, 1, 2]
    whole = compute_bif(store(data))["influences"].values
    np.testing.assert_array_equal(found["influences"].values, whole)
    part = compute_bif(store(data), loss_keys=["pile"], batch_index_range_1=[2, 0], batch_index_range_2=[1])
    assert part["batch_1"].values.tolist() == [2, 0]
    np.testing.assert_allclose(part["influences"].values[:, 0], whole[[6, 4], 5], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_keys": ["cod"]}, "did you mean 'code'"),
        ({"batch_index_range_1": [99]}, "batch_index_range_1 holds 99\n  rows are 0 … 7"),
        ({"correlation_method": "word"}, "correlation_method = 'word'\n  one of 'token', 'sequence'"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_what_cannot_be_computed_says_why(options, message):
    with pytest.raises(UserError, match=message):
        compute_bif(store(noisy(7)), **options)


def test_one_draw_has_no_influence():
    with pytest.raises(UserError, match="at least 2 draws"):
        compute_bif(store(noisy(7, chains=1, draws=1)))


@pytest.mark.gpu
def test_an_accelerator_finds_the_same():
    if not torch.cuda.is_available():
        pytest.skip("no accelerator")
    data = noisy(8, rows=9, positions=6)
    want = compute_bif(store(data))["influences"].values
    np.testing.assert_allclose(compute_bif(store(data), device="cuda")["influences"].values, want, rtol=0, atol=1e-5)


def test_errors_and_effective_draws_of_independent_draws():
    """Independent draws are worth what they are; a correlation of r has the error (1 - r²)/sqrt(n), a covariance c sqrt((u v + c²)/n)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 500))
    x[1] = 0.6 * x[0] + 0.8 * x[1]
    z, _ = standardised(x.reshape(3, 1, -1).astype(np.float32), covariance=False)
    found = errors(z[:, 0], 4, 4, correlation=True)
    r = float(z[0, 0] @ z[1, 0])
    assert found.ess[0, 2] == pytest.approx(2000, rel=0.1) and found.why == ""
    assert found.std_error[0, 1] == pytest.approx((1 - r**2) / 2000**0.5, rel=0.06)
    low, high = found.interval(np.array(r), found.std_error[0, 1], found.ess[0, 1], correlation=True)
    assert low < 0.6 < high and high - low == pytest.approx(2 * 1.96 * found.std_error[0, 1], rel=0.01)
    c, _ = standardised(x.reshape(3, 1, -1).astype(np.float32), covariance=True)
    u, v, both = np.var(x[0], ddof=1), np.var(x[1], ddof=1), float(c[0, 0] @ c[1, 0])
    assert errors(c[:, 0], 4, 4, correlation=False).std_error[0, 1] == pytest.approx(np.sqrt((u * v + both**2) / 2000), rel=0.06)


def test_autocorrelated_draws_are_worth_fewer():
    """AR(1) with factor f: a(k) = f^k, so that T = (1 + f²)/(1 - f²)."""
    rng, factor = np.random.default_rng(1), 0.7
    x = rng.normal(size=(20, 4, 4000))
    for t in range(1, x.shape[2]):
        x[:, :, t] = factor * x[:, :, t - 1] + np.sqrt(1 - factor**2) * x[:, :, t]
    z, _ = standardised(x.reshape(20, 1, -1).astype(np.float32), covariance=False)
    upper = np.triu_indices(20, 1)
    found = errors(z[:, 0], 4, 4, correlation=True)
    assert np.median(found.ess[upper]) == pytest.approx(16000 * (1 - factor**2) / (1 + factor**2), rel=0.05)
    assert np.std((z[:, 0] @ z[:, 0].T)[upper]) == pytest.approx(np.median(found.std_error[upper]), rel=0.15)


def test_where_errors_are_not_known_they_are_null_and_it_is_said():
    z, _ = standardised(np.random.default_rng(2).normal(size=(3, 1, 240)).astype(np.float32), covariance=False)
    alone = errors(z[:, 0], 1, 1, correlation=True)
    assert np.isnan(alone.std_error).all() and alone.why == "one chain"
    short = errors(z[:, 0, :20], 2, 2, correlation=True)
    assert np.isnan(short.std_error).all() and "effective draws" in short.why
    z[1] = np.nan  # a loss that never varies
    partly = errors(z[:, 0], 4, 4, correlation=True)
    assert np.isnan(partly.std_error[1]).all() and np.isfinite(partly.std_error[0, 2]) and partly.why == ""


def test_the_floor_lets_a_planted_pair_through_and_leaves_out_pairs_of_one_text():
    x = np.random.default_rng(3).normal(size=(12, 1, 240)).astype(np.float32)
    x[1] = 0.6 * x[0] + 0.8 * x[1]
    x[5] = x[4]
    x[7] = 1.0
    z, _ = standardised(x, covariance=False)
    owners = np.arange(12)
    owners[5] = owners[4]
    found = floor(z[:, 0], 4, owners, keep=True)
    assert found.clear[0, 1] and found.clear[1, 0] and found.clear_pairs == 1
    assert found.pairs == 11 * 10 // 2 - 1 and not found.clear[4, 5] and not found.clear[7].any()
    assert floor(z[:, 0, :2], 1, owners, keep=False) is None, "nothing to exchange"


def test_there_is_no_floor_of_so_few_exchanges_that_chance_exceeds_it_more_often_than_is_said():
    """Two chains of six draws can be exchanged in 12 ways, whose largest is exceeded by chance once in 13 times; of ten draws in 19."""
    z, _ = standardised(np.random.default_rng(0).normal(size=(6, 1, 12)).astype(np.float32), covariance=False)
    assert floor(z[:, 0], 2, np.arange(6), keep=False) is None
    for chains, draws in ((2, 6), (2, 10), (1, 30), (3, 5), (4, 60)):
        ways = exchanges(chains, draws, SWAPS)
        assert len(set(ways)) == len(ways), "one counted twice makes the floor look surer than it is"
        assert len(ways) == SWAPS or (chains, draws) == (2, 6)
        assert not any(way.order[chain] == chain and way.shift == 0 and not way.reverse for way in ways for chain in range(chains))


def test_halves_agree_where_there_is_something_to_agree_on():
    data = noisy(9, chains=4, draws=40, rows=6, observables=("pile",))
    traces = data["pile"].mean(3).transpose(2, 0, 1).reshape(6, 1, -1)
    z, _ = standardised(traces, covariance=False)
    one, two = half_matrices(z[:, 0], 4, correlation=True)
    want = np.corrcoef(traces[:, 0].reshape(6, 4, 40)[:, ::2].reshape(6, -1))
    np.testing.assert_allclose(one, want, atol=1e-5)
    assert agreement(one, two) > 0.8
