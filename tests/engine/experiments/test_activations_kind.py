"""The kind activations: the store holds what the model says, opens with xarray, and is the same after a kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.events import Metrics
from interp_tui_engine.experiments.activations.store import Sizes, in_precision, refuse_lost, sizes_of
from interp_tui_engine.models.load import load_model
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import activations
from interp_tui_engine.sites.site import parse

DATA = {"train": {"source": "builtin:facts", "context": 12, "rows": 10}}
PARAMS = {"sites": ["L2.resid_post", "L1.z", "L0.k.H1", "L1.attn_pattern"], "batch_size": 4}


def test_the_store_is_what_the_model_says_and_the_same_after_a_kill(tmp_path):
    done = run_tiny("activations", PARAMS, tmp_path / "run", data=DATA)
    tree = xr.open_datatree(done.folder.path / "activations.zarr", engine="zarr", consolidated=False)
    ids = torch.tensor(tree["input_ids"].to_numpy()).long()
    assert ids.shape == (10, 13)
    site_map = site_map_of(load_model("builtin:tiny", device="cpu"))
    for text in PARAMS["sites"]:
        stored = tree[text]
        np.testing.assert_allclose(stored.to_numpy(), activations(site_map, ids, [parse(text)])[parse(text)].numpy(), rtol=1e-5, atol=1e-5)
    assert tree["L1.z"].dims == ("row", "position", "head", "head_dim") and tree["L0.k.H1"].dims == ("row", "position", "head_dim")
    told = [row for event in done.events if isinstance(event, Metrics) and event.series == "cells" for row in event.values.get("shown", [])]
    assert [row["row"] for row in told] == list(range(10)) and len(told[0]["tokens"]) == 13
    np.testing.assert_allclose(told[7]["norms"]["L1.z"], np.linalg.norm(tree["L1.z"][7].to_numpy().reshape(13, -1), axis=1), rtol=1e-3)
    pattern = np.linalg.norm(tree["L1.attn_pattern"][7].to_numpy().swapaxes(0, 1).reshape(13, -1), axis=1)
    np.testing.assert_allclose(told[7]["norms"]["L1.attn_pattern"], pattern, atol=1e-4)
    assert run_tiny("activations", PARAMS, tmp_path / "cut", data=DATA, cut=13) is None
    again = run_tiny("activations", PARAMS, tmp_path / "cut", data=DATA)
    assert again.result.digests == done.result.digests
    stored = xr.open_datatree(again.folder.path / "activations.zarr", engine="zarr", consolidated=False)["L2.resid_post"].to_numpy()
    assert np.array_equal(stored, tree["L2.resid_post"].to_numpy())


def test_half_the_precision_takes_half_the_disk_and_texts_stand_beside(tmp_path):
    stores = {}
    for dtype in ("float32", "bfloat16", "float16"):
        done = run_tiny("activations", {"sites": ["L2.resid_post"], "dtype": dtype}, tmp_path / dtype, data=DATA)
        stores[dtype] = done.folder.path / "activations.zarr"
    full, short, half = (xr.open_datatree(path, engine="zarr", consolidated=False)["L2.resid_post"].load() for path in stores.values())
    assert np.array_equal(short.to_numpy(), torch.tensor(full.to_numpy()).bfloat16().float().numpy()) and half.dtype == np.float16
    size = {name: sum(file.stat().st_size for file in (path / "L2.resid_post" / "c").rglob("*")) for name, path in stores.items()}
    assert size["bfloat16"] < 0.6 * size["float32"]
    tokenizer = load_model("builtin:tiny", device="cpu").tokenizer
    assert set(full.coords) == {"input_ids", "text"}
    assert full["text"].to_numpy().tolist() == [tokenizer.decode(row) for row in full["input_ids"].to_numpy()]


def test_what_float16_cannot_hold_is_not_written_as_infinity():
    def refuse(values, dtype):
        value = torch.tensor(values)
        square, largest, lost = sizes_of(value, in_precision(value, dtype)).tolist()
        refuse_lost(parse("L1.mlp_post"), Sizes(square, largest, bool(lost)), dtype)

    with pytest.raises(UserError, match=r"L1.mlp_post reaches 7e\+04, which float16 cannot hold.*"):
        refuse([1.0, 7e4], "float16")
    refuse([1.0, 7e4], "bfloat16")
    refuse([1.0, float("inf")], "float16")  # it is what the model says
    assert in_precision(torch.tensor([7e4]), "bfloat16")[0] == pytest.approx(7e4, rel=2**-8)


@pytest.mark.parametrize(
    "changes, error, said",
    [
        ({"sites": ["L2.resid_pots"]}, ManifestError, "did you mean 'resid_post'"),
        ({"sites": ["L9.resid_post"]}, UserError, "layers 0 to 3"),
        ({"sites": ["L1.z@3"]}, UserError, "every position is kept"),
        ({"data": "test"}, ManifestError, "none of the manifest's data"),
    ],
)
def test_what_cannot_be_kept(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run_tiny("activations", PARAMS | changes, tmp_path / "run", data=DATA)
