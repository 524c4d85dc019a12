"""The loop against its slow reference, and what must not change a chain's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from sampler_models import SERIAL, THREADS, VMAP, config, make_store, problem, run, tiny_lm, token_rows

from interp_tui_engine.samplers.chains.store import digests
from interp_tui_engine.samplers.target.losses import plain_cross_entropy
from references.sgld_loop import sample_reference

# float32 sums of some hundred terms, taken in another order, over a few dozen steps
CLOSE = dict(rtol=2e-4, atol=2e-5)


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    return {name: group[name][...] for name in group.array_keys()}


SETTINGS = [
    {},
    {"num_burnin_steps": 3, "num_steps_bw_draws": 2},
    {"gradient_accumulation_steps": 3},
    {"sampling_method": "rmsprop_sgld", "sampling_method_kwargs": {"alpha": 0.9}, "lr": 1e-4},
    {"bounding_box_size": 0.02, "llc_weight_decay": 3.0},
    {"init_noise": 0.05, "noise_level": 0.5},
    {"match_sampling_input_ids_across_chains": False},
    {"shuffle": False, "noise_level": 0.0},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda c: ",".join(c) or "plain")
@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP], ids=lambda e: e.mode)
def test_equals_the_slow_reference(tmp_path, changes, executor):
    c = config(num_chains=2, **changes)
    p = problem(c)
    run(p, c, make_store(tmp_path / "s", p, c), executor)
    got = arrays(tmp_path / "s")
    init, micro, observed, _ = sample_reference(tiny_lm(), token_rows(), p.observables[0].input_ids, c)
    np.testing.assert_allclose(got["init_loss"], init.numpy()[None].repeat(2, 0), **CLOSE)
    np.testing.assert_allclose(got["sampling_loss_micro"], micro.numpy(), **CLOSE)
    np.testing.assert_allclose(got["loss_train"], observed.numpy(), **CLOSE)
    ids = p.observables[0].input_ids
    with torch.no_grad():
        logits = tiny_lm().eval()(ids)
        start = plain_cross_entropy((logits if isinstance(logits, torch.Tensor) else logits.logits)[:, :-1], ids[:, 1:])
    np.testing.assert_allclose(got["init_loss_train"], start.numpy(), **CLOSE)
    per_draw = micro[:, c.num_burnin_steps :: c.num_steps_bw_draws].unflatten(2, (-1, c.batch_size)).mean(2)
    np.testing.assert_allclose(got["sampling_loss"], per_draw.numpy(), **CLOSE)


def test_partial_masks_and_frozen_parameters_equal_the_reference(tmp_path):
    mask = torch.zeros(12, 12)
    mask[:5] = 1
    masks = {"mix.weight": mask, "out.bias": None}
    c = config(num_chains=1)
    p = problem(c, masks=masks)
    assert p.space.numel == 60 + 24
    run(p, c, make_store(tmp_path / "s", p, c))
    _, micro, _, _ = sample_reference(tiny_lm(), token_rows(), None, c, masks)
    np.testing.assert_allclose(arrays(tmp_path / "s")["sampling_loss_micro"], micro.numpy(), **CLOSE)


@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP], ids=lambda e: e.mode)
def test_a_chain_is_the_same_bits_whichever_chains_run_beside_it(tmp_path, executor):
    four = config()
    p = problem(four)
    run(p, four, make_store(tmp_path / "four", p, four), executor)
    whole = arrays(tmp_path / "four")
    one = config(num_chains=1)
    run(p, one, make_store(tmp_path / "one", p, one), executor)
    for name, values in arrays(tmp_path / "one").items():
        expected = whole[name][:1] if values.shape[0] == 1 else whole[name]
        assert np.array_equal(values, expected), name
    run(p, four, make_store(tmp_path / "half", p, four), executor, chains=[2, 3])
    half = arrays(tmp_path / "half")
    for name in ("sampling_loss_micro", "sampling_loss", "loss_train", "init_loss"):
        assert np.array_equal(half[name][2:], whole[name][2:]), name
        assert np.isnan(half[name][:2]).all(), name


def test_worker_count_changes_nothing(tmp_path):
    c = config()
    p = problem(c)
    for name, executor in (("serial", SERIAL), ("threads", THREADS)):
        run(p, c, make_store(tmp_path / name, p, c), executor)
    assert digests(tmp_path / "serial") == digests(tmp_path / "threads")


def test_matched_batches_are_stored_once_and_unmatched_ones_per_chain(tmp_path):
    for matched in (True, False):
        c = config(match_sampling_input_ids_across_chains=matched)
        p = problem(c)
        run(p, c, make_store(tmp_path / str(matched), p, c))
        rows = xr.open_datatree(tmp_path / str(matched), engine="zarr", consolidated=False)["sampling_rows_micro"]
        assert rows.dims == (("step", "batch_sampling") if matched else ("chain", "step", "batch_sampling"))
        if not matched:
            assert not np.array_equal(rows[0], rows[1])


def test_dropout_is_off_and_the_model_is_left_as_it_was():
    c = config(num_chains=1)
    model = tiny_lm(dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dropped = run(problem(c, model), c)
    plain = run(problem(c, tiny_lm()), c)
    assert np.array_equal(dropped.snapshot.trace, plain.snapshot.trace)
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_save_metrics_hold_the_parts_of_each_step(tmp_path):
    c = config(num_chains=1, save_metrics=True, llc_weight_decay=2.0)
    p = problem(c)
    run(p, c, make_store(tmp_path / "s", p, c))
    got = arrays(tmp_path / "s")
    first = {name.removeprefix("metrics_"): float(values[0, 0]) for name, values in got.items() if name.startswith("metrics_")}
    w0 = torch.cat([v.reshape(-1) for v in tiny_lm().state_dict().values()])
    assert first["distance"] == 0 and first["localization"] == 0
    assert first["weight_decay"] == pytest.approx(c.lr / 2 * 2.0 * float(w0.norm()), rel=1e-5)
    assert first["scaled_grad"] == first["unscaled_grad"] > 0
    # |noise|² is ε χ²_d
    assert first["noise"] == pytest.approx((c.lr * p.space.numel) ** 0.5, rel=5 / (2 * p.space.numel) ** 0.5)
    assert (got["metrics_distance"][0, 1:] > 0).all()


def test_rmsprop_metrics_agree_between_executors(tmp_path):
    c = config(num_chains=2, save_metrics=True, sampling_method="rmsprop_sgld", lr=1e-4)
    p = problem(c)
    for executor in (SERIAL, VMAP):
        run(p, c, make_store(tmp_path / executor.mode, p, c), executor)
    serial, vmap = arrays(tmp_path / "serial"), arrays(tmp_path / "vmap")
    for name in serial:
        if name.startswith("metrics_"):
            np.testing.assert_allclose(vmap[name], serial[name], rtol=1e-3, atol=1e-6, err_msg=name)
