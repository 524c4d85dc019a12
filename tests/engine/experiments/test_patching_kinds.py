"""The kinds activation_patch, attribution_patch and path_patch on the embedded model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError

FACT = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return run_tiny("activation_patch", FACT, tmp_path_factory.mktemp("exact") / "run").result.values


def test_every_head_and_mlp_has_an_effect(exact):
    assert len(exact["effects"]) == 4 * 9 and exact["top"][0]["name"] == "L0H1"
    assert exact["top"][0]["effect"] == max(map(abs, exact["effects"].values()))
    json.dumps(exact, allow_nan=False)


def test_attributions_are_held_against_exact_patching(exact, tmp_path):
    values = run_tiny("attribution_patch", {**FACT, "method": "eap_ig"}, tmp_path / "ig").result.values
    assert values["correlation"] > 0.9 and len(values["estimates"]) == 36
    assert values["effects"] == pytest.approx({name: exact["effects"][name] for name in values["effects"]}, abs=1e-5)
    few = run_tiny("attribution_patch", {**FACT, "method": "eap", "sample": 6}, tmp_path / "eap").result.values
    assert len(few["effects"]) == 6 and "L0H1" in few["effects"]


def test_the_correlation_is_that_of_the_two_columns_where_the_metric_falls_by_what_is_patched(tmp_path):
    params = {**FACT, "metric": "kl", "method": "eap_ig"}  # 0 on the clean prompt, above it on the corrupt one
    values = run_tiny("attribution_patch", params, tmp_path / "run").result.values
    columns = [[values["effects"][name] for name in values["effects"]], [values["estimates"][name] for name in values["effects"]]]
    assert values["correlation"] == pytest.approx(np.corrcoef(columns)[0, 1], abs=1e-5) and values["correlation"] > 0.5


@pytest.mark.parametrize("method, least", [("eap_ig", 0.9), ("eap_ig_activations", 0.9)])
def test_attributions_of_edges_are_held_against_cutting_them(tmp_path, method, least):
    params = {**FACT, "method": method, "level": "edge", "sample": 40}
    values = run_tiny("attribution_patch", params, tmp_path / "run").result.values
    assert values["correlation"] > least and values["parts"] == 823 and len(values["effects"]) == 40
    few = ["L0H1", "L1H0", "L3.mlp"]
    exact = run_tiny("path_patch", {**FACT, "nodes": few}, tmp_path / "paths").result.values["effects"]
    both = set(exact) & set(values["effects"])
    assert both and {name: values["effects"][name] for name in both} == pytest.approx({name: exact[name] for name in both}, abs=1e-5)


def test_paths_between_parts(exact, tmp_path):
    params = {**FACT, "nodes": ["L1H0", "L0H1", "L3.mlp"]}
    done = run_tiny("path_patch", params, tmp_path / "run")
    effects = done.result.values["effects"]
    assert effects["L0H1 → L1KV0.v"] > 0.5 > abs(effects["L0H1 → L1H0.q"])
    assert effects["L3 MLP → logits"] == pytest.approx(exact["effects"]["L3 MLP"], abs=1e-4), "the last MLP reaches the logits directly"
    assert run_tiny("path_patch", params, tmp_path / "cut", cut=9) is None
    assert run_tiny("path_patch", params, tmp_path / "cut").result.digests == done.result.digests


@pytest.mark.parametrize(
    "changes, error, said",
    [
        ({"nodes": ["L1.resid"]}, ManifestError, "neither a head"),
        ({"nodes": ["L1.mpl"]}, ManifestError, "did you mean 'mlp'"),
        ({"nodes": ["L9H0"]}, UserError, "layers 0 to 3"),
        ({"nodes": ["L0H9"]}, UserError, "heads 0 to 7"),
    ],
)
def test_parts_that_are_none(tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        run_tiny("path_patch", FACT | changes, tmp_path / "run")
