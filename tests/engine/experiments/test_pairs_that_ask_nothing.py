"""Kinds that take pairs print both ends of the metric, and say where pairs ask nothing: swapped or unrelated answers, disagreeing pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from in_process import run_tiny
from interp_tui_engine.circuits.ratio import share_of
from interp_tui_engine.events import Warned

FACT = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}
LITTLE = {
    "causal_trace": {"sites": ["resid_post"], "heads": False},
    "activation_patch": {"parts": "mlps"},
    "attribution_patch": {"sample": 3, "method": "eap"},
    "path_patch": {"nodes": ["L3.mlp"]},
    "circuit": {"level": "node", "method": "eap_ig", "threshold": 0.5},
}


def warned(done):
    return [event.message for event in done.events if isinstance(event, Warned)]


@pytest.mark.parametrize("kind", LITTLE)
def test_swapped_answers_are_flagged(tmp_path, kind):
    params = {**FACT, "answer": " Tokyo", "counterfactual": " Paris", **LITTLE[kind]}
    done = run_tiny(kind, params, tmp_path / "run")
    assert any("are answer and counterfactual swapped?" in text for text in warned(done))
    reach = done.result.values["reach"]
    assert reach["clear"] is False and reach["clean"][0] < -10 < 10 < reach["corrupt"][0]
    assert done.result.headline["verdict"] == "the metric runs the wrong way"
    assert "**-16.22** at the clean end, **17.26** at the corrupt end" in done.result.report and "swapped" in done.result.report
    assert done.result.uncertainty["reach.mean"].clear is False
    json.dumps(dict(done.result.values), allow_nan=False)


@pytest.mark.parametrize("kind", ["causal_trace", "activation_patch"])
def test_unrelated_answers_are_flagged_and_right_ones_are_not(tmp_path, kind):
    unrelated = run_tiny(kind, {**FACT, "answer": " Berlin", "counterfactual": " Rome", **LITTLE[kind]}, tmp_path / "unrelated")
    assert any("unrelated answers reach too" in text for text in warned(unrelated))
    assert unrelated.result.headline["verdict"] == "not clear of unrelated answers" and unrelated.result.values["reach"]["p"] > 0.05
    right = run_tiny(kind, {**FACT, **LITTLE[kind]}, tmp_path / "right")
    assert warned(right) == [] and "verdict" not in right.result.headline and right.result.values["reach"]["p"] <= 0.01


def test_pairs_that_disagree_are_named_and_effects_have_intervals_over_pairs(tmp_path):
    rows = [("France", "Japan", "Paris", "Tokyo"), ("Italy", "Egypt", "Cairo", "Rome"), ("Spain", "China", "Madrid", "Beijing")]
    rows.append(("Norway", "Cuba", "Oslo", "Havana"))
    lines = [
        {"clean": f"The capital of {a} is", "corrupt": f"The capital of {b} is", "answer": x, "counterfactual": y} for a, b, x, y in rows
    ]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_tiny("activation_patch", {"pairs": "facts.jsonl", "parts": "mlps"}, tmp_path / "run")
    assert any(text.startswith("pair 2 of 4 goes the other way: ") for text in warned(done))
    values = done.result.values
    assert values["reach"]["opposed"] == [2] and "| 2 | -" in done.result.report and "95 % over 4 pairs" in done.result.report
    assert all(row["low"] <= row["effect"] <= row["high"] for row in values["top"])
    assert done.result.uncertainty["effect"].has_bar and values["top_held_out"]["parts"]


def test_the_cell_that_restores_most_is_measured_on_pairs_that_did_not_choose_it(tmp_path):
    rows = [("France", "Japan", "Paris", "Tokyo"), ("Italy", "Egypt", "Rome", "Cairo"), ("Spain", "China", "Madrid", "Beijing")]
    lines = [
        {"clean": f"The capital of {a} is", "corrupt": f"The capital of {b} is", "answer": x, "counterfactual": y} for a, b, x, y in rows
    ]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    params = {"pairs": "facts.jsonl", "sites": ["resid_post"], "heads": False}
    done = run_tiny("causal_trace", params, tmp_path / "run")
    values, bar = done.result.values, done.result.uncertainty["peak.recovery"]
    assert bar.has_bar and bar.low <= values["peak_held_out"]["recovery"] <= bar.high and bar.clear
    assert "chosen on one half of the pairs and measured on the other" in done.result.report
    one = run_tiny("causal_trace", {**FACT, "sites": ["resid_post"], "heads": False}, tmp_path / "one").result
    assert one.values["peak_held_out"] is None and one.uncertainty["peak.recovery"].note == "one pair"


@pytest.mark.parametrize("kind", ["activation_patch", "causal_trace", "circuit"])
def test_a_pair_that_is_there_twice_counts_once(tmp_path, kind):
    other = {"clean": "The capital of Italy is", "corrupt": "The capital of Egypt is", "answer": " Rome", "counterfactual": " Cairo"}
    for name, rows in (("once", [FACT, other]), ("often", [FACT, FACT, other, dict(reversed(FACT.items()))])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    once, often = (run_tiny(kind, {**LITTLE[kind], "pairs": f"{name}.jsonl"}, tmp_path / name) for name in ("once", "often"))
    assert "pairs 2, 4 repeat earlier ones and are left out: 2 of 4 pairs stay, counted from 1" in warned(often)
    assert not any("left out" in text for text in warned(once))
    assert often.result.digests == once.result.digests and often.result.uncertainty == once.result.uncertainty
    (tmp_path / "same.jsonl").write_text((json.dumps(FACT) + "\n") * 8)
    same = run_tiny(kind, {**LITTLE[kind], "pairs": "same.jsonl"}, tmp_path / "same")
    assert "1 of 8 pairs stay" in " ".join(warned(same)) and not any(
        bar.has_bar for name, bar in same.result.uncertainty.items() if name != "correlation"
    )


def test_what_is_measured_on_other_pairs_is_not_clear_where_pairs_ask_nothing_or_its_interval_holds_the_control(tmp_path):
    other = {"clean": "The capital of Italy is", "corrupt": "The capital of Egypt is", "answer": " Rome", "counterfactual": " Cairo"}
    swapped = [{**row, "answer": row["counterfactual"], "counterfactual": row["answer"]} for row in (FACT, other)]
    for name, rows in (("right", [FACT, other]), ("swapped", swapped)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        params = {"pairs": f"{name}.jsonl", "level": "node", "method": "eap_ig", "threshold": 0.05}
        held = run_tiny("circuit", params, tmp_path / name).result.uncertainty["held_out"]
        assert held.low < held.control < held.high and held.clear is False, "two pairs: Student's t of one degree of freedom"
    few = run_tiny("activation_patch", {"pairs": "right.jsonl", "parts": "mlps"}, tmp_path / "few").result.uncertainty["effect"]
    assert few.low < 0 < few.high and few.clear is False
    assert share_of(np.array([1.0, 1.01]), np.ones(2)).clear_of(0.0, True) and share_of(np.ones(1), np.ones(1)).clear_of(0.0, True)


@pytest.mark.parametrize("width, layers", [(2, "l − 1 … l, cut"), (4, "l − 2 … l + 1, cut"), (3, "l − 1 … l + 1, cut")])
def test_a_window_is_said_in_layers(tmp_path, width, layers):
    done = run_tiny("causal_trace", {**FACT, "sites": ["mlp_out"], "heads": False, "window": width}, tmp_path / "run")
    assert f"Windows of {width} layers: {layers}" in done.result.report
