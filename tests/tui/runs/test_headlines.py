"""What a run found in one line: every kind's headline numbers as an answer."""

from __future__ import annotations

from typing import Any

import pytest

from interp_tui.runs.headlines import WORDS, answer
from interp_tui.runs.posterior_headlines import llc_doubt
from interp_tui_engine import catalog
from interp_tui_engine.experiments.attention import heads_by_name
from interp_tui_engine.experiments.causal_trace.result import handover
from interp_tui_engine.payload import read
from interp_tui_engine.results.attention import NamedHead


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("llc", {"llc_mean": 38.2, "llc_std_error": 0.9, "rhat": 1.02, "ess": 311.0}, "λ̂ 38.20 ± 0.90  R̂ 1.02"),
        ("llc", {"llc_mean": 38.2, "llc_std_error": 0.9, "rhat": 1.43, "ess": 311.0}, "λ̂ 38.20 ± 0.90  not mixed yet: R̂ 1.43"),
        (
            "llc",
            {"llc_mean": -708.0, "llc_std_error": 40.0, "rhat": 1.01, "ess": 400.0},
            "λ̂ -708 ± 40  below 0: the weights are no minimum",
        ),
        ("", {"llc_mean": 1321.0, "llc_std_error": 40.0, "rhat": 3.2, "ess": 4.0}, "λ̂ 1,321 ± 40  not mixed yet: R̂ 3.20"),
        ("sample", {"loss_mean": 3.412, "rhat": 1.01, "ess": 400.0}, "loss 3.412  R̂ 1.01"),
        ("llc", {"llc_mean": 38.2, "llc_std": 0.92, "rhat": 1.02}, "λ̂ 38.2, chains spread by 0.92  R̂ 1.02"),
        (
            "llc",
            {
                "llc_mean": 244.0,
                "rhat": 1.01,
                "ess": 400.0,
                "uncertainty": {"llc_mean": {"std_error": 5.1, "control": 248.0, "clear": False}},
            },
            "λ̂ 244.0 ± 5.1  no clearer than noise alone: 248",
        ),
        (
            "susceptibilities",
            {"parts": 3, "strongest": "l0h1 to code", "covariance_mean": -0.421, "covariance_std_error": 0.032},
            "l0h1 to code: covariance -0.421 ± 0.032  strongest of 3 parts",
        ),
        ("susceptibilities", {"strongest": "l0h1 to code", "mean_mean": -0.421}, "l0h1 to code: χ -0.421"),
        ("susceptibilities", {"strongest": "l0h1 to code", "first_order_mean": 0.5}, "l0h1 to code: first order 0.500"),
        (
            "bif",
            {"sequences": 8, "strongest": "2 with 5", "influence_mean": 0.931, "influence_std_error": 0.012, "clear": 4},
            "2 moves with 5: influence 0.931 ± 0.012  4 pairs clear of chance",
        ),
        ("bif", {"strongest": "2 with 5", "influence_mean": -0.5}, "2 moves against 5: influence -0.500"),
        ("activation_patch", {"top": "L0H1", "effect": 0.919, "verdict": "unclear"}, "L0H1 carries 0.919  unclear"),
        ("certify", {"passed": 20, "cases": 21}, "20 of 21 known answers met"),
        ("logit_lens", {"crossover_layer": 19, "answer_prob": 0.83}, "answer first at L19  p 0.830 at the end"),
        ("logit_lens", {"crossover_layer": None, "answer_prob": 0.01}, "answer never first  p 0.0100 at the end"),
        ("causal_trace", {"clean_metric": 9.07, "corrupt_metric": -9.35}, "clean 9.07, corrupt -9.35"),
        ("causal_trace", {"clean_metric": 9.07, "answer": "France L0 0.85 → is L2 1.00"}, "France L0 0.85 → is L2 1.00"),
        ("attention", {"heads": 32, "named": 6}, "6 of 32 heads named"),
        (
            "circuit",
            {"nodes": 8, "edges": 12, "faithfulness": 0.83, "completeness": 0.99},
            "8 nodes, 12 edges  faithfulness 0.830  completeness 0.990",
        ),
        ("probe", {"best_layer": 3, "accuracy": 0.91, "auroc": 0.97}, "best at L3  AUROC 0.970  accuracy 91.0 %"),
        ("train_sae", {"fvu": 0.143, "l0": 16.0, "dead_fraction": 0.02}, "FVU 0.143  L0 16.0  dead 2.0 %"),
        (
            "train_sae",
            {"fvu": 0.14, "l0": 16.0, "dead_fraction": 0.02, "ce_loss_recovered": 0.968},
            "FVU 0.140 held out  L0 16.0  loss kept 96.8 %",
        ),
        (
            "inspect",
            {"top": "SAE:L20:F676", "auroc": 0.99, "associated": 12, "causal": 3},
            "SAE:L20:F676 AUROC 0.990  3 causal of 12 associated",
        ),
        ("interventions", {"top": "F417", "effect": -6.1, "clear": 2}, "F417 effect -6.10  2 clear of their controls"),
        ("contrast", {"strength": 4.0, "effect": 9.3, "clear": True}, "strength 4.00: effect 9.30  clear of its controls"),
        ("match", {"matches": 50, "beyond_chance": 41, "best": 0.93}, "41 of 50 matches beyond chance  best 0.930"),
        ("calibrate", {"usable": 3, "settings": 12, "lr": 1e-4, "n_beta": 30.0}, "lr 1e-04, nβ 30.0; 3 of 12 settings usable"),
        ("sweep", {"points": 12, "done": 11}, "11 of 12 runs done"),
        ("pipeline", {"steps": 4, "done": 2, "running": "train"}, "2 of 4 steps done, train goes on"),
        ("a_kind_to_come", {"some_score": 0.5, "more": 2}, "some score 0.500  more 2"),
    ],
)
def test_the_answer(kind: str, values: dict[str, Any], said: str) -> None:
    assert answer(kind, values) == said


def test_every_kind_has_words_and_takes_whatever_a_status_holds() -> None:
    kinds = {kind.name for kind in catalog.kinds()} | {"sweep", "pipeline"}
    assert kinds == set(WORDS)
    names = ("llc_mean", "rhat", "chi", "strongest", "top", "effect", "clear", "steps", "matches", "peak", "recovery", "settings", "nodes")
    for kind in kinds:
        assert answer(kind, {}) == ""
        for value in ("x", None, [1], {"a": 1}, True, float("nan"), 10**400):
            assert isinstance(answer(kind, dict.fromkeys(names, value)), str)


def test_ascii_says_the_same_in_ascii() -> None:
    said = answer("llc", {"llc_mean": 38.2, "llc_std_error": 0.9, "rhat": 1.43}, ascii=True)
    assert said == "llc 38.20 +- 0.90  not mixed yet: Rhat 1.43" and said.isascii()
    assert answer("causal_trace", {"answer": "France L0 0.85 → is L2 1.00"}, ascii=True).isascii()


def test_text_of_a_model_is_only_text() -> None:
    assert "\x1b" not in answer("causal_trace", {"answer": "\x1b]52;c;QQ==\x07 L0 0.85"})


def test_an_estimate_that_is_well_has_no_doubt() -> None:
    assert llc_doubt({"llc_mean": 0.5, "llc_std_error": 1.0, "rhat": 1.0, "ess": 200.0}) == ""
    assert llc_doubt({"llc_mean": -0.5, "llc_std_error": 1.0, "rhat": 1.0, "ess": 200.0}) == ""  # within two errors of 0


def test_where_the_answer_is_read_and_where_it_arrives() -> None:
    grid = [[0.0, 0.0, 0.85, 0.1], [0.0, 0.0, 0.85, 0.4], [0.0, 0.0, 0.2, 1.0], [0.0, None, 0.0, 1.0]]
    tokens = ["The", " capital", " France", " is"]
    assert handover({"attn_out": [[0.9] * 4] * 4, "resid_post": grid}, tokens) == "France L0 0.85 → is L2 1.00"
    assert handover({"resid_post": [[0.0, 0.0, 0.05, 0.9]]}, tokens) == "is L0 0.90"
    assert handover({"resid_post": [[0.0, 0.0, 0.0, 0.0]]}, tokens) == "" == handover({"attn_out": grid}, tokens)
    assert handover({"resid_post": [[None] * 4]}, tokens) == ""


def test_heads_by_what_they_are() -> None:
    names = [("L1H0", "induction"), ("L1H1", "induction"), ("L1H2", "induction"), ("L1H3", "induction")]
    names += [("L2H5", "induction"), ("L0H2", "previous token")]
    heads = [read(NamedHead, {"head": head, "name": name}) for head, name in names]
    assert heads_by_name(heads) == "induction L1H0-H3, L2H5; previous token L0H2"
    assert heads_by_name([]) == ""
