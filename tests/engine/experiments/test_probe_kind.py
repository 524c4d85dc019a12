"""The kind probe on the embedded model: its own example, what it leaves behind, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.experiments.probe import EXAMPLE

PARAMS = {**EXAMPLE["params"], "resamples": 30, "probe": "mean_difference", "repeats": 1, "permutations": 5}


def test_every_layer_is_scored_and_its_probe_saved(tmp_path):
    done = run_tiny("probe", PARAMS, tmp_path / "run")
    values = done.result.values
    assert values["layers"] == [0, 1, 2, 3] and len(values["auroc"]["resid_post"]) == 4
    assert values["classes"] == {"Europe": 6, "elsewhere": 6} and values["majority"] == 0.5
    assert values["best"]["auroc"] == max(values["auroc"]["resid_post"])
    assert load_file(done.folder.path / "probes.safetensors")["L2.resid_post.weight"].shape == (128, 1)
    json.dumps(values, allow_nan=False)
    assert values["groups"] == 12 and values["notes"] == [], "one template of subjects that do not recur"
    best = values["best"]
    assert best["places"] == 4 and 1 / 6 <= best["family_p"] <= 1 and best["over_majority"] == pytest.approx(best["accuracy"] - 0.5)
    assert done.result.uncertainty["best.accuracy"].control == 0.5 and done.result.uncertainty["best.auroc"].low == best["auroc_low"]
    confusion = np.array(values["best"]["confusion"])
    assert confusion.sum(1).tolist() == [6, 6] and np.trace(confusion) / 12 == pytest.approx(values["best"]["accuracy"])
    assert run_tiny("probe", PARAMS, tmp_path / "cut", cut=9) is None
    assert run_tiny("probe", PARAMS, tmp_path / "cut").result.digests == done.result.digests


def test_positions_are_places_of_their_own_and_a_saved_direction_splits_the_classes(tmp_path):
    done = run_tiny("probe", PARAMS | {"positions": [-2, -1]}, tmp_path / "run")
    assert list(done.result.values["auroc"]) == ["resid_post@-2", "resid_post@-1"]
    held = load_file(done.folder.path / "probes.safetensors")
    weight, bias, means = (held[f"L2.resid_post@-1.{part}"] for part in ("weight", "bias", "means"))
    # where the two means lie along the unit direction, the probe of the difference of means changes sign half way
    along = float(np.linalg.norm(weight)) * means + bias
    assert along[0] < 0 < along[1] and along.sum() == pytest.approx(0, abs=1e-3 * abs(along).max())


def test_labels_that_mean_nothing_are_not_read_off_subjects_that_recur(tmp_path):
    """A random label for each country, four wordings, no group: by rows, held-out AUROC would be 1."""
    countries = ("France", "Italy", "Spain", "Greece", "Norway", "Poland", "Japan", "Egypt", "China", "India", "Kenya", "Cuba")
    wordings = ("The capital of {} is", "The language of {} is", "The currency of {} is", "The flag of {} is")
    rows = [{"text": wording.format(c), "label": i % 2} for i, c in enumerate(countries) for wording in wordings]
    done = run_tiny("probe", PARAMS | {"examples": rows, "probe": "ridge", "permutations": 20}, tmp_path / "run")
    best = done.result.values["best"]
    assert done.result.values["groups"] == 12 and "4 templates of 12 subjects" in done.result.values["notes"][0]
    assert any("4 templates of 12 subjects" in getattr(event, "message", "") for event in done.events)
    assert best["control_accuracy"] > 0.9 and abs(best["selectivity"]) < 0.1 and best["family_p"] > 0.05 and best["auroc_low"] < 0.5
    assert not done.result.uncertainty["best.auroc"].clear


@pytest.mark.parametrize(
    "changes, error, said",
    [
        ({"examples": []}, ManifestError, "give examples, or a file"),
        ({"examples": [{"text": "a"}]}, ManifestError, "has no label"),
        ({"sites": ["resid_pots"]}, ManifestError, "Did you mean 'resid_post'"),
        ({"examples": [{"text": "a b", "label": 1}] * 9}, ManifestError, "nothing to tell apart"),
        ({"folds": 9}, ManifestError, "fewer than folds = 9"),
        (
            {"examples": EXAMPLE["params"]["examples"][2:8] * 3, "folds": 2},
            ManifestError,
            "2 groups of rows of class 'elsewhere' .*6 texts stand there more than once.*: fewer than 5",
        ),
        ({"positions": [40]}, UserError, "names 40, but .* has 5 tokens"),
        ({"positions": [-1, -1]}, ManifestError, "names a position twice"),
    ],
)
def test_what_cannot_be_probed(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run_tiny("probe", PARAMS | changes, tmp_path / "run")
