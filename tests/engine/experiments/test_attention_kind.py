"""The kind attention on the embedded model."""

from __future__ import annotations

import json

import pytest
import xarray as xr

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.experiments import attention

PARAMS = {"prompt": "The capital of France is Paris. The capital of France is", "score_length": 16, "score_rows": 4}


def test_patterns_are_kept_and_heads_are_named(tmp_path):
    done = run_tiny("attention", PARAMS, tmp_path / "run")
    pattern = xr.open_datatree(done.folder.path / "attention.zarr", engine="zarr", consolidated=False)["pattern"]
    assert pattern.shape == (4, 8, 12, 12) and pattern.dims == ("layer", "head", "query", "key")
    assert abs(pattern.to_numpy().sum(-1) - 1).max() < 1e-5 and pattern.to_numpy()[:, :, 0, 1:].max() == 0
    assert {"previous token", "induction"} <= {row["name"] for row in done.result.values["named_heads"]}
    json.dumps(done.result.values, allow_nan=False)
    drawn = done.result.values["drawn"]
    figure = (done.folder.path / "figures" / f"pattern-{drawn[0]}.svg").read_text()
    assert "capital" in figure and f"pattern-{drawn[0]}.svg" in done.result.report
    assert run_tiny("attention", PARAMS, tmp_path / "cut", cut=6) is None
    assert run_tiny("attention", PARAMS, tmp_path / "cut").result.digests == done.result.digests


def test_layers_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="layers 0 to 3"):
        run_tiny("attention", {**PARAMS, "layers": [7]}, tmp_path / "run")
    with pytest.raises(ManifestError, match="layers count from 0"):
        run_tiny("attention", {**PARAMS, "layers": [-1]}, tmp_path / "two")


def test_patterns_beyond_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "MOST_BYTES", 2 * 4 * 8 * 12 * 12)  # of two layers
    with pytest.raises(UserError, match=r"(?s)patterns of 4 layers × 8 heads × 12 × 12 tokens.*name at most 2 layers"):
        run_tiny("attention", PARAMS, tmp_path / "run")
    assert run_tiny("attention", {**PARAMS, "layers": [0, 3], "scores": False}, tmp_path / "two") is not None
