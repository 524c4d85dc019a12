"""What is on disk, and which settings are let through."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError
from sampler_models import config, make_store, problem, run

from interp_tui_engine.data.names import obs_id
from interp_tui_engine.errors import RunFailed
from interp_tui_engine.samplers.chains.store import SampleStore, digests
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import FunctionTarget


def test_the_tree_has_devinterps_names_and_dims(tmp_path):
    c = config(num_draws=7, gradient_accumulation_steps=2, num_burnin_steps=1)
    p = problem(c)
    run(p, c, make_store(tmp_path / "s", p, c))
    tree = xr.open_datatree(tmp_path / "s", engine="zarr", consolidated=False)
    want = {
        "init_loss": {"chain": 4, "token_pos": 8},
        "sampling_loss": {"chain": 4, "draw": 7, "batch": 4, "token_pos": 8},
        "sampling_loss_micro": {"chain": 4, "step": 8, "batch_sampling": 8, "token_pos": 8},
        "sampling_rows_micro": {"step": 8, "batch_sampling": 8},
        "init_loss_micro": {"step": 8},
        "loss_train": {"chain": 4, "draw": 7, "batch_train": 8, "token_pos": 8},
        "init_loss_train": {"batch_train": 8, "token_pos": 8},
        "input_ids_train": {"batch_train": 8, "token": 9},
    }
    assert {name: dict(zip(tree[name].dims, tree[name].shape, strict=True)) for name in tree.data_vars} == want
    assert all(tree[name].dtype == "float32" for name in want if "loss" in name and name != "init_loss_micro")
    assert tree.attrs["completed"] == 1 and tree.attrs["metadata"]["config"]["sampler"]["n_beta"] == 20.0
    assert tree.attrs["failed_chains"] == {}


def test_long_runs_are_written_in_stretches(tmp_path, monkeypatch):
    monkeypatch.setattr("interp_tui_engine.samplers.chains.store._CHUNK_BYTES", 4 * 4 * 8 * 10)
    c = config(num_draws=37, num_chains=2)
    p = problem(c)
    run(p, c, make_store(tmp_path / "s", p, c))
    store = SampleStore.create(tmp_path / "s", c, p.positions, (), {})
    assert store.arrays["sampling_loss_micro"].stretch == 10
    assert len(list((tmp_path / "s" / "sampling_loss_micro" / "c" / "0").iterdir())) == 4
    assert np.isfinite(xr.open_datatree(tmp_path / "s", engine="zarr", consolidated=False)["sampling_loss_micro"]).all()


def test_digests_tell_arrays_apart(tmp_path):
    c = config(num_chains=1)
    p = problem(c)
    for name in ("a", "b"):
        run(p, c, make_store(tmp_path / name, p, c))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    other = config(num_chains=1, init_seed=7)
    run(p, other, make_store(tmp_path / "c", p, other))
    a, c_ = digests(tmp_path / "a"), digests(tmp_path / "c")
    assert a["sampling_loss"] != c_["sampling_loss"] and a["input_ids_train"] == c_["input_ids_train"]
    assert all(len(d) == 64 for d in a.values())


def test_a_store_of_another_shape_is_not_overwritten(tmp_path):
    c = config()
    p = problem(c)
    make_store(tmp_path / "s", p, c)
    with pytest.raises(RunFailed, match="another configuration"):
        make_store(tmp_path / "s", p, config(num_draws=9))


def test_a_full_disk_stops_the_run_and_says_how_much_is_missing(tmp_path, monkeypatch):
    c = config(num_chains=2)
    p = problem(c)
    store = make_store(tmp_path / "s", p, c)

    def full(name, index, values):
        if name == "sampling_loss_micro":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SampleStore, "write", lambda self, *a: full(*a))
    with pytest.raises(RunFailed, match=r"the disk is full.*MiB more"):
        run(p, c, store, folder=tmp_path / "ck")
    monkeypatch.undo()
    assert not list((tmp_path / "ck").glob("chain-*"))  # nothing presumes what was not written
    run(p, c, store, folder=tmp_path / "ck")
    assert np.isfinite(xr.open_datatree(tmp_path / "s", engine="zarr", consolidated=False)["sampling_loss_micro"]).all()


def test_examples_without_tokens_have_one_position(tmp_path):
    x = torch.randn(32, 3)
    y = x @ torch.tensor([1.0, -1.0, 0.5])
    loss = lambda w, batch: (batch["x"] @ w["w"] - batch["y"]).square() / 2  # noqa: E731
    c = config(num_chains=1)
    p = FunctionTarget(
        loss, {"w": torch.zeros(3), "unused": torch.ones(1)}, {"x": x, "y": y}, {"held out": ({"x": x, "y": y}, 1)}, 4, masks={"w": None}
    )
    run(p, c, make_store(tmp_path / "s", p, c))
    tree = xr.open_datatree(tmp_path / "s", engine="zarr", consolidated=False)
    assert tree["loss_held_out"].shape == (1, 6, 4, 1) and "input_ids_held_out" not in tree


def test_identifiers_are_devinterps():
    assert [obs_id(n) for n in ("pile-github", "10k", "ok_1", "")] == ["pile_github", "_10k", "ok_1", "_"]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"lr": -1e-3}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"n_beta": float("nan")}, "n_beta"),
        ({"num_chains": 0}, "num_chains"),
        ({"localization": -1.0}, "localization"),
        ({"sampling_method": "adam"}, "sampling_method"),
        ({"sampling_method_kwargs": {"alpha": 0.9}}, "alpha is unknown"),
        ({"sampling_method": "rmsprop_sgld", "sampling_method_kwargs": {"eps": "x"}}, "must be a finite number"),
        ({"epoch_mode": "twice"}, "epoch_mode"),
        ({"nbeta": 3.0}, "nbeta"),
    ],
)
def test_settings_out_of_range_are_refused(changes, where):
    with pytest.raises(ValidationError, match=where):
        SamplerConfig(**{"lr": 1e-3, "n_beta": 1.0, **changes})


def test_every_setting_explains_itself():
    for name, field in SamplerConfig.model_fields.items():
        assert field.description and len(field.description) < 90, name


def test_settings_do_not_load_torch():
    code = "import sys, interp_tui_engine.samplers.settings as s; s.SamplerConfig(lr=1e-3, n_beta=1.0); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
