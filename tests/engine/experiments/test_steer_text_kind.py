"""The kind steer_text: its own example, along a probe's direction too, resumed after a kill, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.experiments import probe
from interp_tui_engine.experiments.steer_text import EXAMPLE

PARAMS = {**EXAMPLE["params"], "tokens": 3}
NO_TEXTS = {"toward": [], "away": [], "site": None}


def test_far_enough_along_the_direction_the_model_says_something_else(tmp_path):
    done = run_tiny("steer_text", PARAMS, tmp_path / "run")
    values = done.result.values
    json.dumps(values, allow_nan=False)
    rows = {(row["prompt"], row["strength"]): row for row in values["rows"]}
    first = rows["The capital of France is", 2.0]
    assert first["before"].strip().startswith("Paris") and not first["after"].strip().startswith("Paris") and first["effect"] < -1
    kl = [point["kl"] for point in values["curve"]]
    assert kl == sorted(kl) and kl[-1] > 1 > kl[0]
    assert run_tiny("steer_text", PARAMS, tmp_path / "cut", cut=8) is None
    assert run_tiny("steer_text", PARAMS, tmp_path / "cut").result.digests == done.result.digests


def test_along_a_probes_direction(tmp_path):
    probed = run_tiny("probe", {**probe.EXAMPLE["params"], "probe": "mean_difference", "resamples": 10}, tmp_path / "probe")
    # the worker leaves result.json; in this process the test does
    (probed.folder.path / "result.json").write_text(json.dumps(probed.result.values))
    best = f"L{probed.result.values['best_layer']}.resid_post"
    given = PARAMS | NO_TEXTS | {"direction": str(probed.folder.path), "verb": "clamp", "strengths": [0.0, 1.0]}
    done = run_tiny("steer_text", given, tmp_path / "run")
    assert done.result.values["site"] == best
    held = load_file(probed.folder.path / "probes.safetensors")
    means = held[f"{best}.means"]
    assert done.result.values["step"] == pytest.approx(float(means[1] - means[0])) and means[1] > means[0]
    ablated = run_tiny("steer_text", given | {"verb": "ablate", "strengths": [1.0], "site": "L3.resid_post"}, tmp_path / "ablate")
    assert ablated.result.values["site"] == "L3.resid_post" and ablated.result.values["curve"][0]["kl"] > 0
    with pytest.raises(UserError, match=r"no probe at 'L9.resid_post'"):
        run_tiny("steer_text", given | {"site": "L9.resid_post"}, tmp_path / "none")


def test_along_a_direction_of_one_head(tmp_path):
    done = run_tiny("steer_text", PARAMS | {"site": "L2.z.H3", "strengths": [4.0]}, tmp_path / "run")
    assert done.result.values["site"] == "L2.z.H3" and done.result.values["curve"][0]["kl"] > 0


def test_along_a_file_of_one_direction(tmp_path):
    save_file({"direction:contrast:L2:asia": torch.ones(128)}, tmp_path / "d.safetensors")
    given = PARAMS | NO_TEXTS | {"direction": str(tmp_path / "d.safetensors"), "strengths": [5.0]}
    assert run_tiny("steer_text", given, tmp_path / "run").result.values["site"] == "L2.resid_post"
    save_file({"direction:contrast:L2:asia": torch.ones(64)}, tmp_path / "d.safetensors")
    with pytest.raises(UserError, match=r"64 numbers, but L2.resid_post is 128 wide"):
        run_tiny("steer_text", given, tmp_path / "narrow")
    (tmp_path / "d.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="no safetensors file"):
        run_tiny("steer_text", given, tmp_path / "broken")


@pytest.mark.parametrize(
    "changes, error, said",
    [
        ({"toward": []}, ManifestError, "params.toward"),
        ({"site": None}, ManifestError, "read at one site"),
        ({"site": "resid_post"}, ManifestError, "names no layer"),
        ({"site": "L2.resid_pots"}, ManifestError, "did you mean 'resid_post'"),
        ({"direction": "runs/x"}, ManifestError, "give one or the other"),
        ({"verb": "ablate"}, ManifestError, "ablate has no strength"),
        ({"strengths": [1.0, 1.0]}, ManifestError, "names a strength twice"),
        ({"prompts": []}, ManifestError, "params.prompts"),
        ({"site": "L7.resid_post"}, UserError, "layers 0 to 3"),
        ({"away": EXAMPLE["params"]["toward"]}, ManifestError, "no way from one to the other"),
        ({"prompts": ["word " * 600]}, UserError, "prompt 1 is"),
        ({"answer": "Antananarivo"}, UserError, "tokens"),
    ],
)
def test_what_cannot_be_steered(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run_tiny("steer_text", PARAMS | changes, tmp_path / "run")
