"""The kind probe on the embedded model: its own example, what it leaves behind, and what it refuses."""

from __future__ import annotations

import json

import pytest
from inside import run_inside
from safetensors.numpy import load_file

from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.experiments.probe import EXAMPLE

PARAMS = {**EXAMPLE["params"], "resamples": 30, "probe": "mean_difference"}


def test_every_layer_is_scored_and_its_probe_saved(tmp_path):
    done = run_inside("probe", PARAMS, tmp_path / "run")
    values = done.result.values
    assert values["layers"] == [0, 1, 2, 3] and len(values["auroc"]["resid_post"]) == 4
    assert values["classes"] == {"Europe": 6, "elsewhere": 6} and values["majority"] == 0.5
    assert values["best"]["auroc"] == max(values["auroc"]["resid_post"])
    assert load_file(done.folder.path / "probes.safetensors")["L2.resid_post.weight"].shape == (128, 1)
    json.dumps(values, allow_nan=False)
    assert run_inside("probe", PARAMS, tmp_path / "cut", cut=9) is None
    assert run_inside("probe", PARAMS, tmp_path / "cut").result.digests == done.result.digests


@pytest.mark.parametrize(
    "changes, error, said",
    [
        ({"examples": []}, ManifestError, "give examples, or a file"),
        ({"examples": [{"text": "a"}]}, ManifestError, "has no label"),
        ({"sites": ["resid_pots"]}, ManifestError, "Did you mean 'resid_post'"),
        ({"examples": [{"text": "a b", "label": 1}] * 9}, UserError, "labels are the same"),
        ({"folds": 9}, UserError, "fewer than folds = 9"),
        ({"position": 40}, UserError, "a text has"),
    ],
)
def test_what_cannot_be_probed(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run_inside("probe", PARAMS | changes, tmp_path / "run")
