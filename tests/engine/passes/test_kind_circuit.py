"""The kind circuit on the embedded model."""

from __future__ import annotations

import json

import pytest
from inside import run_inside

from interp_tui_engine.errors import ManifestError
from interp_tui_engine.events import Metrics

FACT = {
    "clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo",
    "method": "eap_ig", "threshold": 0.1,
}  # fmt: skip


def test_a_circuit_keeps_the_behaviour_and_a_killed_run_finds_the_same(tmp_path):
    done = run_inside("circuit", FACT, tmp_path / "run")
    values = done.result.values
    assert values["faithfulness"] > 0.8 and values["completeness"] > 0.8
    assert 0 < len(values["nodes"]) < 12 and all(abs(row["effect"]) >= 0.09 for row in values["nodes"])
    assert any(row["name"].endswith("logits") for row in values["edges"]) and values["stability"] is None
    json.dumps(values, allow_nan=False)
    decided = [e for e in done.events if isinstance(e, Metrics) and e.series == "cells" and "kept" in e.values]
    assert sum(e.values["kept"] for e in decided) == len(values["nodes"])
    assert run_inside("circuit", FACT, tmp_path / "cut", cut=14) is None
    assert run_inside("circuit", FACT, tmp_path / "cut").result.digests == done.result.digests


def test_what_a_circuit_cannot_be_found_for(tmp_path):
    with pytest.raises(ManifestError, match="use 'first'"):
        run_inside("circuit", {**FACT, "metric": "prob", "long_answers": "sequence"}, tmp_path / "run")
