"""The kind circuit on the embedded model: what it finds at either level, that a kill changes nothing, and what it refuses."""

from __future__ import annotations

import json

import pytest
from inside import run_inside

from interp_tui_engine.errors import ManifestError
from interp_tui_engine.events import Metrics

FACT = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}


def decided(done):
    return [e.values for e in done.events if isinstance(e, Metrics) and e.series == "cells" and "kept" in e.values]


@pytest.mark.parametrize("method", [{"method": "eap_ig", "threshold": 0.02}, {"scope": "nodes"}, {"scope": "all"}], ids=str)
def test_a_circuit_of_edges_keeps_the_behaviour_and_a_killed_run_finds_the_same(tmp_path, method):
    done = run_inside("circuit", FACT | method, tmp_path / "run")
    values = done.result.values
    assert values["faithfulness"] > 0.9 and values["completeness"] > 0.9 and values["stability"] is None
    assert 0 < len(values["nodes"]) < 12 and 0 < len(values["edges"]) < 40 < values["tried"] < values["parts"] == 823
    assert any(row["name"].endswith("logits") for row in values["edges"])
    senders = {row["name"].partition(" → ")[0] for row in values["edges"]} - {"embed"}
    assert senders == {row["name"] for row in values["nodes"]}
    assert all((row["estimate"] is None) == ("scope" in method) for row in values["edges"])
    assert values["correlation"] is None if "scope" in method else values["correlation"] > 0.9
    heads = [row for row in values["nodes"] if row["head"] is not None]
    assert all(set(row["scores"]) == {"previous_token", "duplicate_token", "induction", "copying"} for row in heads)
    json.dumps(values, allow_nan=False)
    told = [row for row in decided(done) if "edge" in row]
    assert len(told) == values["tried"] and {row["name"] for row in values["edges"]} <= {row["edge"] for row in told if row["kept"]}
    for cut in (len(done.events) // 2, len(done.events) - 30):
        assert run_inside("circuit", FACT | method, tmp_path / f"cut{cut}", cut=cut) is None
        again = run_inside("circuit", FACT | method, tmp_path / f"cut{cut}")
        assert again.result.digests == done.result.digests and decided(again) == decided(done)


def test_a_threshold_that_nothing_reaches_leaves_nothing(tmp_path):
    values = run_inside("circuit", {**FACT, "threshold": 0.99, "method": "eap_ig"}, tmp_path / "run").result.values
    assert values["nodes"] == values["edges"] == [] and values["faithfulness"] == pytest.approx(0, abs=1e-4) and values["minimality"] == 0


def test_a_circuit_of_nodes_has_a_stability_over_pairs(tmp_path):
    rows = [FACT, {"clean": "The capital of Italy is", "corrupt": "The capital of Egypt is", "answer": " Rome", "counterfactual": " Cairo"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = {"pairs": "pairs.jsonl", "level": "node", "method": "eap_ig", "threshold": 0.1}
    done = run_inside("circuit", params, tmp_path / "run")
    values = done.result.values
    assert values["edges"] == [] and values["level"] == "node" and 0 < values["stability"] <= 1
    assert values["faithfulness"] > 0.8 and all(abs(row["effect"]) >= 0.09 for row in values["nodes"])
    assert sum(row["kept"] for row in decided(done)) == len(values["nodes"])
    assert run_inside("circuit", params, tmp_path / "cut", cut=14) is None
    assert run_inside("circuit", params, tmp_path / "cut").result.digests == done.result.digests


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"metric": "prob", "long_answers": "sequence"}, "use 'first'"),
        ({"method": "adcd"}, "did you mean 'acdc'|Did you mean 'acdc'"),
        ({"threshold": 1.5}, "params.threshold"),
        ({"level": "edges"}, "params.level"),
        ({"method": "eap_ig", "metric": "rank"}, "'rank' has no gradient"),
        ({"method": "eap", "metric": "kl"}, "gradient of 'kl' is 0 in the clean run"),
    ],
)
def test_what_a_circuit_cannot_be_found_for(tmp_path, changes, said):
    with pytest.raises(ManifestError, match=said):
        run_inside("circuit", FACT | changes, tmp_path / "run")
