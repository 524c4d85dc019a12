"""The kind circuit on the embedded model: what it finds at either level, that a kill changes nothing, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.events import Metrics, Phase, Progress
from interp_tui_engine.models.load import load_model

FACT = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}


def decided(done):
    return [e.values for e in done.events if isinstance(e, Metrics) and e.series == "cells" and "kept" in e.values]


def progress_in(done, phase):
    """What is told of a phase's progress."""
    start = next(i for i, event in enumerate(done.events) if isinstance(event, Phase) and event.name == phase)
    rest = done.events[start + 1 :]
    end = next((i for i, event in enumerate(rest) if isinstance(event, Phase)), len(rest))
    return [(event.done, event.total, event.unit) for event in rest[:end] if isinstance(event, Progress)]


@pytest.mark.parametrize("method", [{"method": "eap_ig", "threshold": 0.02}, {"scope": "nodes"}, {"scope": "all"}], ids=str)
def test_a_circuit_of_edges_keeps_the_behaviour_and_a_killed_run_finds_the_same(tmp_path, method):
    done = run_tiny("circuit", FACT | method, tmp_path / "run")
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
        assert run_tiny("circuit", FACT | method, tmp_path / f"cut{cut}", cut=cut) is None
        again = run_tiny("circuit", FACT | method, tmp_path / f"cut{cut}")
        assert again.result.digests == done.result.digests and decided(again) == decided(done)


def test_a_threshold_that_nothing_reaches_leaves_nothing(tmp_path):
    values = run_tiny("circuit", {**FACT, "threshold": 0.99, "method": "eap_ig"}, tmp_path / "run").result.values
    assert values["nodes"] == values["edges"] == [] and values["faithfulness"] == pytest.approx(0, abs=1e-4) and values["minimality"] == 0


def write_pairs(folder, *names):
    answers = {"Italy": "Rome", "Egypt": "Cairo", "Spain": "Madrid", "China": "Beijing", "Norway": "Oslo", "Cuba": "Havana"}
    rows = [FACT]
    for one, other in names:
        texts = {"clean": f"The capital of {one} is", "corrupt": f"The capital of {other} is"}
        rows.append({**texts, "answer": f" {answers[one]}", "counterfactual": f" {answers[other]}"})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("level", ["node", "edge"])
def test_a_circuit_is_measured_on_pairs_it_was_not_found_on_beside_random_ones(tmp_path, level):
    write_pairs(tmp_path, ("Italy", "Egypt"), ("Spain", "China"), ("Norway", "Cuba"))
    params = {"pairs": "pairs.jsonl", "level": level, "method": "eap_ig", "threshold": 0.1}
    done = run_tiny("circuit", params, tmp_path / "run")
    values, bars = done.result.values, done.result.uncertainty
    held, random = values["held_out"], values["random"]
    assert held["low"] < held["faithfulness"] < held["high"] and 0.3 < held["faithfulness"] <= values["faithfulness"] + 0.2
    assert done.result.headline["held_out"] == held["faithfulness"] == pytest.approx(sum(held["each"]) / 2, abs=0.1)
    assert len(random["faithfulness"]) == 20 and random["max"] < held["faithfulness"]
    assert bars["held_out.faithfulness"].clear and bars["held_out.faithfulness"].control == random["mean"]
    assert "measured on the other: faithfulness" in done.result.report and 0 < values["stability"] <= 1
    parts = len(values["nodes"]) + len(values["edges"])
    assert progress_in(done, "measuring the circuit")[-1] == (parts, parts, "parts")
    assert progress_in(done, "measuring random circuits") == [(count, 20, "circuits") for count in range(1, 21)]
    half = next(i for i, event in enumerate(done.events) if isinstance(event, Phase) and event.name == "finding it again")
    for cut in (half + 6,):
        assert run_tiny("circuit", params, tmp_path / f"cut{cut}", cut=cut) is None
        again = run_tiny("circuit", params, tmp_path / f"cut{cut}").result
        assert again.values["held_out"] == held and again.digests == done.result.digests
    without = run_tiny("circuit", {**params, "halves": False}, tmp_path / "without").result
    assert without.digests == done.result.digests and without.values["held_out"] is None is without.values["stability"]
    assert "halves of the pairs were not searched" in without.report


@torch.no_grad()
def test_faithfulness_is_that_of_plain_hooks(tmp_path):
    """Every head's and MLP's output outside the circuit replaced by the corrupt run's, with PyTorch's own hooks and nothing of ours."""
    values = run_tiny("circuit", {**FACT, "level": "node", "method": "eap_ig", "threshold": 0.1}, tmp_path / "run").result.values
    model = load_model("builtin:tiny", device="cpu")
    clean, corrupt = (torch.tensor([model.tokenizer(FACT[name]).input_ids]) for name in ("clean", "corrupt"))
    (right,), (wrong,) = (model.tokenizer(FACT[name], add_special_tokens=False).input_ids for name in ("answer", "counterfactual"))
    layers = model.module.model.layers
    width = layers[0].self_attn.o_proj.in_features // 8
    kept = {(row["layer"], row["head"]) for row in values["nodes"]}
    seen = {}

    def hooked(place):
        """`place(layer, head-or-None, value)` of every input to an attention's output projection and every MLP's output."""
        for number, layer in enumerate(layers):
            yield layer.self_attn.o_proj.register_forward_pre_hook(lambda _, given, number=number: (place(number, True, given[0]),))
            yield layer.mlp.register_forward_hook(lambda _, __, output, number=number: place(number, False, output))

    def metric(place):
        hooks = list(hooked(place))
        logits = model.module(corrupt if place is keep else clean).logits[0, -1]
        for hook in hooks:
            hook.remove()
        return float(logits[right] - logits[wrong])

    def keep(number, of_heads, value):
        seen[number, of_heads] = value
        return value

    def outside(circuit):
        def put(number, of_heads, value):
            value = value.clone()
            if not of_heads:
                return value if (number, None) in circuit else seen[number, False]
            for head in (head for head in range(8) if (number, head) not in circuit):
                part = slice(width * head, width * (head + 1))
                value[..., part] = seen[number, True][..., part]
            return value

        return put

    metric(keep)
    every = {(number, part) for number in range(len(layers)) for part in (*range(8), None)}
    whole, empty, alone, rest = (metric(outside(circuit)) for circuit in (every, set(), kept, every - kept))
    assert (values["clean_metric"], values["empty_metric"]) == (pytest.approx(whole, abs=1e-4), pytest.approx(empty, abs=1e-4))
    assert values["faithfulness"] == pytest.approx((alone - empty) / (whole - empty), abs=1e-5)
    assert values["completeness"] == pytest.approx(1 - (rest - empty) / (whole - empty), abs=1e-5)


def test_of_one_pair_nothing_is_known_beyond_it(tmp_path):
    done = run_tiny("circuit", {**FACT, "level": "node", "method": "eap_ig", "threshold": 0.1}, tmp_path / "run").result
    assert done.values["held_out"] is None is done.values["stability"] and "stability: not known: one pair" in done.report
    assert done.uncertainty["stability"].note == "not known: one pair" and "one pair" in done.uncertainty["faithfulness"].note


def test_a_circuit_of_nodes_has_a_stability_over_pairs(tmp_path):
    write_pairs(tmp_path, ("Italy", "Egypt"))
    params = {"pairs": "pairs.jsonl", "level": "node", "method": "eap_ig", "threshold": 0.1}
    done = run_tiny("circuit", params, tmp_path / "run")
    values = done.result.values
    assert values["edges"] == [] and values["level"] == "node" and 0 < values["stability"] <= 1
    assert values["faithfulness"] > 0.8 and all(abs(row["effect"]) >= 0.09 for row in values["nodes"])
    assert sum(row["kept"] for row in decided(done)) == len(values["nodes"])
    assert run_tiny("circuit", params, tmp_path / "cut", cut=14) is None
    assert run_tiny("circuit", params, tmp_path / "cut").result.digests == done.result.digests


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
        run_tiny("circuit", FACT | changes, tmp_path / "run")
