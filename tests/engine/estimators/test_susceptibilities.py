"""Susceptibilities: against the definition, against devinterp on its own samples, against a case solved by hand, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stores import gaussian_draws, noisy, store

import interp_tui_engine as engine
from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.estimators.susceptibilities import baseline, compute_susceptibilities, response
from references.susceptibilities import susceptibility


def trees(**changes):
    return {name: store(noisy(seed, **changes)) for seed, name in enumerate(("full", "l0h0", "l0 mlp"))}


def test_against_the_definition():
    found = compute_susceptibilities(trees(), "pile", include_sampling_task=True)["susceptibilities"]
    assert found.dataset.attrs["dataset_id_to_name"] == ["code", "pile"] and found["wr"].values.tolist() == ["l0h0", "l0 mlp"]
    full = {**noisy(0), "init": 3.0}
    for column, seed in (("l0h0", 1), ("l0 mlp", 2)):
        for index, obs in enumerate(("code", "pile")):
            want = susceptibility(full, noisy(seed), "pile", obs)
            mine = found["sus"].sel(wr=column).values[found["dataset_id"].values == index].reshape(want.shape)
            np.testing.assert_allclose(mine, want, rtol=0, atol=2e-7)  # float32 of numbers near 0.1


@pytest.mark.parametrize("include", [False, True])
def test_equal_to_devinterp_on_its_own_samples(recorded, devinterp_stores, include):
    found = engine.compute_susceptibilities(devinterp_stores, "pile", include_sampling_task=include)
    for node in ("susceptibilities", "context"):
        prefix = f"sus/{include}/{node}/"
        names = {key.removeprefix(prefix) for key in recorded if key.startswith(prefix)} - {"names"}
        ds = found[node].dataset
        assert names == {*map(str, ds.data_vars), *map(str, ds.coords)}
        assert ds.attrs["dataset_id_to_name"] == recorded[f"{prefix}names"].tolist()
        for name in names - {"sus"}:
            assert ds[name].values.tolist() == recorded[prefix + name].tolist(), name
    theirs = recorded[f"sus/{include}/susceptibilities/sus"]
    assert np.abs(theirs).max() > 1e-4
    np.testing.assert_allclose(found["susceptibilities"]["sus"].values, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max() + 2e-7)


def test_a_failed_chain_is_left_out_of_both_runs():
    good, bad = noisy(0), noisy(1)
    full = {obs: np.concatenate([v, np.full_like(v[:1], np.nan)]) for obs, v in good.items()}
    part = {obs: np.concatenate([v, 9 * np.ones_like(v[:1])]) for obs, v in bad.items()}
    found = compute_susceptibilities(
        {"full": store(full), "x": store(part, failed={"3": {"step": 4, "reason": "the loss is not finite"}})}, "pile"
    )
    want = compute_susceptibilities({"full": store(good), "x": store(bad)}, "pile")
    np.testing.assert_array_equal(found["susceptibilities"]["sus"].values, want["susceptibilities"]["sus"].values)


def test_means_are_those_of_the_tokens_and_chi_is_a_covariance_and_a_shift():
    data = noisy(1, chains=4)
    found = response(store(data).dataset, baseline(store(noisy(0)).dataset, "pile", ["code"]))
    for mean, tokens in (
        (found.mean, found.per_token["code"]),
        (found.mean_covariance, found.covariance["code"].value),
        (found.mean_shift, found.shift["code"].value),
    ):
        assert mean["code"].value == pytest.approx(tokens.mean(), abs=1e-12)
    np.testing.assert_allclose(found.covariance["code"].value + found.shift["code"].value, found.per_token["code"], atol=1e-15)
    phi, tokens = data["pile"].mean((2, 3), dtype=np.float64), data["code"].astype(np.float64)
    want = [[np.cov(phi.ravel(), (phi - tokens[:, :, r, p]).ravel(), ddof=0)[0, 1] for p in range(5)] for r in range(4)]
    np.testing.assert_allclose(found.covariance["code"].value, want, atol=1e-12)


def test_the_baseline_is_that_of_the_rows_that_phi_is_taken_on():
    """The rows observed have 0.2 nats more than those that init_loss is of: that is no rise of the loss, and says nothing of any token."""
    data, start = {"full": noisy(0), "part": noisy(1)}, {"pile": np.full((4, 5), 3.0), "code": np.full((4, 5), 3.0)}

    def found(init, **options):
        given = {name: store(values, init=init, start=start) for name, values in data.items()}
        return compute_susceptibilities(given, "pile", **options)["susceptibilities"]["sus"].values

    np.testing.assert_array_equal(found(init=3.0), found(init=2.8))
    np.testing.assert_array_equal(found(init=3.0), found(init=2.8, baseline_loss="paired"))
    as_devinterp = found(init=2.8, baseline_loss="init")
    without = compute_susceptibilities({name: store(values, init=2.8) for name, values in data.items()}, "pile")
    np.testing.assert_array_equal(as_devinterp, without["susceptibilities"]["sus"].values)
    assert np.abs(as_devinterp - found(init=2.8)).max() > 1e-3


def test_errors_are_those_of_independent_repetitions():
    """What is stated from one run is the spread over many: of a token's covariance and shift, and of their means."""
    seen: dict[str, list[tuple[float, float]]] = {}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        runs = []
        for scale in (1.5, 1.0):
            w = scale * rng.normal(size=(4, 50, 3))
            values = {"pile": 0.3 * w[..., 0] + 0.1 * w[..., 1], "code": 0.2 * w[..., 0] + 0.3 * w[..., 2] + 1}
            start = {"pile": [[-0.2]], "code": [[1.0]]}
            runs.append(store({obs: v[..., None, None] for obs, v in values.items()}, start=start).dataset)
        found = response(runs[1], baseline(runs[0], "pile", ["code"]))
        tokens = {"covariance": found.covariance["code"], "shift": found.shift["code"]}
        for name, one in tokens.items():
            seen.setdefault(f"token {name}", []).append((float(one.value[0, 0]), float(one.std_error[0, 0])))
        means = {"covariance": found.mean_covariance, "shift": found.mean_shift, "chi": found.mean}
        for name, mean in means.items():
            seen.setdefault(f"mean {name}", []).append((mean["code"].value, mean["code"].std_error))
    for name, rows in seen.items():
        values, errors = np.array(rows).T
        # a spread over 60 seeds has an error of 1/sqrt(2 x 59) = 9 %
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=4 * 0.09), name


def test_the_error_of_chi_knows_that_its_parts_go_together_where_losses_are_curved():
    """L = |w|²/2 and nothing else: a draw that lies far out makes covariance and shift larger at once."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        runs = []
        for scale in (0.5, 1.0):
            rise = (scale * rng.normal(size=(4, 60, 3)) ** 2).sum(-1) / 2
            values = {"pile": rise, "code": np.full_like(rise, 1.0)}
            runs.append(store({obs: v[..., None, None] for obs, v in values.items()}, start={"pile": [[0.0]], "code": [[1.0]]}).dataset)
        mean = response(runs[1], baseline(runs[0], "pile", ["code"])).mean["code"]
        found.append((mean.value, mean.std_error))
    values, errors = np.array(found).T
    # a spread over 200 seeds has an error of 1/sqrt(2 x 199) = 5 %; of independent parts the error would be a fifth too small
    assert np.sqrt((errors**2).mean()) > values.std(ddof=1) * (1 - 2 * 0.05)


def test_a_tokens_shift_knows_that_its_loss_forgets_more_slowly_than_phi():
    """phi is new at every draw, the token's loss keeps 0.8 of itself: its mean is worth nine times fewer draws."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        runs = []
        for rise in (2.0, 1.0):
            quick, slow = rng.normal(size=(4, 100)), rng.normal(size=(4, 100))
            for draw in range(1, 100):
                slow[:, draw] = 0.8 * slow[:, draw - 1] + 0.6 * slow[:, draw]
            values = {"pile": rise + 0.1 * quick, "code": 1 + 0.3 * slow}
            runs.append(store({obs: v[..., None, None] for obs, v in values.items()}, start={"pile": [[0.0]], "code": [[1.0]]}).dataset)
        shift = response(runs[1], baseline(runs[0], "pile", ["code"])).shift["code"]
        found.append((float(shift.value[0, 0]), float(shift.std_error[0, 0])))
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=4 * 0.09)  # as above


def test_no_error_is_stated_where_draws_do_not_suffice():
    found = response(store(noisy(1)).dataset, baseline(store(noisy(0)).dataset, "pile", ["code"]))
    assert found.mean["code"].std_error is None and "effective draws" in found.mean["code"].why
    assert found.covariance["code"].std_error is None and found.mean["code"].interval() is None


def test_the_shift_is_what_a_part_that_does_not_covary_responds_by():
    """A loss of its own that never varies within a chain or between them has no covariance with anything: all of chi is shift."""
    data = noisy(1)
    base = baseline(store(noisy(0)).dataset, "pile", ["code"])
    still = {obs: np.broadcast_to(v[:1, :1], v.shape) for obs, v in data.items()}
    assert response(store(still).dataset, base).shift_share == pytest.approx(1.0, abs=1e-6)
    alike = baseline(store(data).dataset, "pile", ["code"])
    assert response(store(data).dataset, alike).shift_share == pytest.approx(0.0, abs=1e-9), "nothing shifts against itself"


@pytest.mark.parametrize("keep", [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
def test_a_linear_gaussian_case_solved_by_hand(keep):
    """K = sum h w^2 / 2 is sampled, w ~ N(0, Sigma) with the Sigma of the discretised process; the probes are g.w + c. phi = K, and

    chi = E[K^2] - E[K (g.w + c)] - E[K] (E_full[K] - c) = var K + E[K]^2 - E[K] E_full[K], since odd moments vanish: g and c drop out.
    """
    h, kept = torch.tensor([1.0, 2.0, 5.0]), torch.tensor(keep)
    n_beta, gamma, lr = 20.0, 10.0, 4e-3
    g, c = np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0, 1], [1, 1, 1]]) * 0.05, np.array([0.0, 0.3, -0.2, 1.0])

    def sampled(mask, seed):
        w = gaussian_draws(h, mask, seed, n_beta=n_beta, localization=gamma, lr=lr)
        k = (h.numpy() * w**2).sum(-1) / 2
        return store({"pile": k[:, :, None, None], "probe": (w @ g.T + c)[..., None]}, init=0.0)

    trees = {"full": sampled(None, 1), "part": sampled(kept, 2)}
    found = compute_susceptibilities(trees, "pile")["susceptibilities"]["sus"].values.ravel()
    error = response(trees["part"].dataset, baseline(trees["full"].dataset, "pile", ["probe"])).mean["probe"].std_error
    a = n_beta * h + gamma
    sigma = 1 / (a * (1 - lr * a / 4))
    part, full = h * sigma * kept / 2, float((h * sigma / 2).sum())
    want = float(2 * (part**2).sum() + part.sum() ** 2 - part.sum() * full)
    assert error < abs(want) / 5
    # the probes' own error adds to the mean's: at most that of E[K g.w] over 8,000 draws
    assert found == pytest.approx([want] * 4, abs=5 * error + 4 * float(part.sum()) * 0.02 / 8000**0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("full"), "no unrestricted run among 'l0h0', 'l0 mlp'"),
        (lambda t: [t.pop("l0h0"), t.pop("l0 mlp")], "there is no restriction besides 'full'"),
        (lambda t: t.update(l0h0=store(noisy(1, observables=("pile",)))), "restriction 'l0h0': 'code' is no observable of the store"),
        (lambda t: t.update(l0h0=store(noisy(1), ids_seed=5)), "restriction 'l0h0' observed other rows of 'code'"),
        (lambda t: t.update(full=store(noisy(1, observables=("pile",)))), "observes nothing besides the sampling data 'pile'"),
    ],
)
def test_stores_that_do_not_fit_together(change, message):
    given = trees()
    change(given)
    with pytest.raises(UserError, match=message):
        compute_susceptibilities(given, "pile")


def test_names_that_are_not_there_are_guessed():
    with pytest.raises(UserError, match="did you mean 'pile'"):
        compute_susceptibilities(trees(), "pil")
    with pytest.raises(UserError, match="observable 'cod' is no observable"):
        compute_susceptibilities(trees(), "pile", ["cod"])


def test_no_healthy_chain_is_a_failed_run():
    nothing = {obs: np.full_like(v, np.nan) for obs, v in noisy(1).items()}
    with pytest.raises(RunFailed, match="no chain is healthy"):
        compute_susceptibilities({"full": store(noisy(0)), "x": store(nothing)}, "pile")
