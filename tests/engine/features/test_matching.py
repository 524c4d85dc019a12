"""Matching: the planted pairs are found one to one, absent axes are dropped, signs count, and chance is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.features import matching, synthetic

SEED = {("SAE:L2:F13", "SAE:L2:F22"): 0.977718, ("SAE:L2:F8", "SAE:L2:F4"): 0.977146, ("SAE:L2:F0", "SAE:L2:F6"): 0.97366}


def card(name: str, text: list[float], activation: list[float], effect: float | None = None, **more: Any) -> dict[str, Any]:
    fingerprint = {"text_vector": text, "text_embedder": "hash-v1", "activation_signature": activation, "causal_provenance": "none"} | more
    return {"feature_id": name, "fingerprint": fingerprint, "causal_effects": {} if effect is None else {"signed_causal_effect": effect}}


def pair(left: dict[str, Any], right: dict[str, Any]) -> matching.Match:
    ((found,), _) = matching.match([left], [right], weights=matching.WEIGHTS, least=0.0, shuffles=0, seed=0)
    return found


def test_scores_by_hand() -> None:
    found = pair(card("a", [1.0, 0.0], [1.0, 1.0]), card("b", [1.0, 1.0], [2.0, 2.0]))
    text, activation = (1 / math.sqrt(2) + 1) / 2, 1.0
    assert found.components == pytest.approx({"text": text, "activation": activation})
    assert found.score == pytest.approx((0.35 * text + 0.25 * activation) / 0.60)


def test_axes_that_cannot_be_compared_are_dropped() -> None:
    left = card("a", [1.0, 0.0], [1.0, 1.0], decoder_signature=[1.0], causal_vector=[1.0] * 4, causal_provenance="intervention")
    right = card("b", [1.0, 0.0], [1.0, 1.0, 1.0], decoder_signature=[], causal_vector=[1.0] * 4, causal_provenance="association")
    found = pair(left, right)
    assert found.components == {"text": 1.0} and found.score == pytest.approx(1.0)
    assert "text" not in pair(left, card("b", [1.0, 0.0], [1.0, 1.0], text_embedder="other")).components


def test_effects_that_oppose_cap_the_score() -> None:
    same = pair(card("a", [1.0], [1.0], 0.4), card("b", [1.0], [1.0], 0.2))
    assert same.score == pytest.approx(0.85 + 0.15 * 0.9) and same.components["signed_effect"] == pytest.approx(0.9)
    assert pair(card("a", [1.0], [1.0], 0.4), card("b", [1.0], [1.0], -0.4)).score == 0.49
    assert pair(card("a", [1.0], [1.0], 0.4), card("b", [1.0], [1.0], -0.001)).score > 0.9, "no sign to speak of"


def test_the_numbers_of_interp_lab_on_the_same_cards() -> None:
    """`interp_lab.matching.match_feature_cards` 3.1.0 on the same cards, whose causal vectors are absent."""
    left, right, _ = synthetic.twins(100, features=24, shared=16, noise=0.5)
    found, _ = matching.match(left, right, weights=matching.WEIGHTS, least=0.0, shuffles=0, seed=0)
    named = {(left[m.left]["feature_id"], right[m.right]["feature_id"]): m.score for m in found[:3]}
    # it rounds the similarity, and then the score, to six places
    assert named == pytest.approx(SEED, abs=0.85 * 0.5e-6 + 0.5e-6 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_planted_pairs_are_found_and_chance_is_told_apart(seed: int) -> None:
    left, right, truth = synthetic.twins(seed, features=24, shared=16, noise=0.5)
    found, limit = matching.match(left, right, weights=matching.WEIGHTS, least=0.0, shuffles=50, seed=seed)
    named = {left[m.left]["feature_id"]: right[m.right]["feature_id"] for m in found}
    assert len(set(named.values())) == len(named) == 24, "one to one"
    assert {name: named[name] for name in truth} == truth
    by_name = {left[m.left]["feature_id"]: m for m in found}
    # the best p-value that 48 strangers allow is 1/49
    assert all(by_name[name].quantile == 48 / 49 and by_name[name].score > limit for name in truth)
    others = [m.quantile for name, m in by_name.items() if name not in truth]
    assert sum(quantile >= 0.95 for quantile in others) <= 3, "8 strangers, of which 0.4 are expected beyond"


def test_features_that_have_nothing_in_common_get_no_better_than_chance() -> None:
    quantiles = []
    for seed in range(8):
        left, right, _ = synthetic.twins(seed, features=20, shared=0, noise=0.0)
        for one in (*left, *right):
            one["fingerprint"]["text_vector"] = []
        found, _ = matching.match(left, right, weights=matching.WEIGHTS, least=0.0, shuffles=30, seed=seed)
        quantiles += [m.quantile for m in found]
    # 160 quantiles, those of one draw dependent: taken as 8 independent means of uniforms, each with sd at most sqrt(1/12)
    assert abs(np.mean(quantiles) - 0.5) < 3 * math.sqrt(1 / 12 / 8)


def strangers(rng: np.random.Generator, count: int, *, alike: float) -> list[dict[str, Any]]:
    """Features that share `alike` of what every report's features share: the criterion's words, the texts, what fires everywhere."""
    common = np.random.default_rng(1).normal(size=(2, 48))
    vectors = alike * common + rng.normal(size=(count, 2, 48))
    return [card(f"f{i}", text.tolist(), activation.tolist(), 0.3 * rng.normal()) for i, (text, activation) in enumerate(vectors)]


@pytest.mark.parametrize(("left", "right", "alike"), [(30, 30, 0.0), (30, 30, 3.0), (15, 45, 3.0), (45, 15, 1.0)])
def test_unrelated_reports_are_not_held_to_be_alike(left: int, right: int, alike: float) -> None:
    """Both sides speak of one criterion on the same texts, and no feature of one is of the other: 5 % pass for twins, not all."""
    rng = np.random.default_rng(left + right)
    shares = []
    for seed in range(30):
        sides = strangers(rng, left, alike=alike), strangers(rng, right, alike=alike)
        found, _ = matching.match(*sides, weights=matching.WEIGHTS, least=0.0, shuffles=20, seed=seed)
        shares.append(np.mean([one.quantile >= 0.95 for one in found]))
    # 30 independent draws; the spread of their shares is measured, the 5 % are stated
    assert np.mean(shares) < 0.05 + 3 * np.std(shares, ddof=1) / math.sqrt(30), np.mean(shares)
    assert np.mean(shares) > 0.0


def test_effects_in_nats_count_as_shares_of_the_largest() -> None:
    effects = [("intervention", 4.0), ("association", 0.5), None, ("intervention", -1.0)]
    assert matching.shares(effects) == [("intervention", 1.0), ("association", 0.5), None, ("intervention", -0.25)]
    assert pair(card("a", [1.0], [1.0], 4.2), card("b", [1.0], [1.0], 3.1)).score == pytest.approx(1.0)


def test_activations_on_other_rows_are_not_compared() -> None:
    left, right = card("a", [1.0], [1.0, 0.0], activation_rows="x"), card("b", [1.0], [1.0, 0.0], activation_rows="y")
    assert "activation" not in pair(left, right).components
    assert "activation" in pair(left, left).components


def test_the_kind_end_to_end(run_kind: Any, tmp_path: Any) -> None:
    result, events, _ = run_kind("match", left="builtin:left", right="builtin:right", shuffles=30)
    assert result.values["beyond_chance"] == 16 and len(result.values["matches"]) == 24
    again, _, _ = run_kind("match", left="builtin:left", right="builtin:right", shuffles=30)
    assert again.digests == result.digests
    assert sum(getattr(event, "series", "") == "case" for event in events) == 24
    atomic.write_json(tmp_path / "empty.json", {"cards": []})
    with pytest.raises(UserError, match="no report with cards"):
        run_kind("match", left="empty.json", right="builtin:right")
    atomic.write_json(tmp_path / "bad.json", {"cards": [{"feature_id": "a"}]})
    with pytest.raises(UserError, match="card 1 has no fingerprint"):
        run_kind("match", left="bad.json", right="builtin:right")
    for card in (
        {"fingerprint": {"text_vector": ["x"]}},
        {"fingerprint": {"text_vector": {"a": 1}}},
        {"fingerprint": {}, "causal_effects": "no"},
    ):
        atomic.write_json(tmp_path / "bad.json", {"cards": [{"feature_id": "a"} | card]})
        with pytest.raises(UserError, match="card 1 has"):
            run_kind("match", left="bad.json", right="builtin:right")
    with pytest.raises(UserError, match=r"params.weights.txt: is no axis"):
        run_kind("match", left="builtin:left", right="builtin:right", weights={"txt": 1.0})
    _, _, folder = run_kind("inspect", criterion="c", backend="toy", permutations=0, cards=8)
    result, _, _ = run_kind("match", left=str(folder.path), right=str(folder.path), shuffles=5)
    assert all(one["left"] == one["right"] and one["score"] == pytest.approx(1.0) for one in result.values["matches"])
