"""Matches under `assignment = "peer"`, by hand: interp-lab's score, its choice of pairs, its ties."""

from __future__ import annotations

from typing import Any

import pytest

from interp_tui_engine.features.matching import WEIGHTS
from interp_tui_engine.features.peer_matching import best_pairs


def card(causal: list[float] = (), effect: float | None = None, provenance: str = "intervention", **axes: Any) -> dict[str, Any]:  # type: ignore[assignment]
    fields = {"text": "text_vector", "activation": "activation_signature", "decoder": "decoder_signature"}
    prints = {fields[name]: vector for name, vector in axes.items()}
    key = "signed_causal_effect" if provenance == "intervention" else "signed_association"
    return {
        "fingerprint": {**prints, "causal_vector": list(causal), "causal_provenance": provenance if causal else "none"},
        "causal_effects": {} if effect is None else {key: effect},
    }


def pairs(left: list[dict[str, Any]], right: list[dict[str, Any]], top: int = 10, least: float = 0.0) -> list[tuple[int, int, float]]:
    return [(m.left, m.right, m.score) for m in best_pairs(left, right, weights=WEIGHTS, least=least, top=top)]


def test_the_causal_axis_counts_short_vectors_for_less() -> None:
    """Equal directions of length ½ each: 1 · ½ · ½ = ¼; with the text's 1 of weight .35 to .20, (.35 + .05)/.55."""
    one = card([0.3, 0.4], text=[1.0, 0.0])
    assert pairs([one], [one]) == [(0, 0, pytest.approx(0.4 / 0.55, abs=1e-6))]
    long = card([3.0, 4.0], text=[1.0, 0.0])
    assert pairs([long], [long]) == [(0, 0, 1.0)]


def test_an_axis_of_zeros_counts_as_half_and_one_of_another_length_not_at_all() -> None:
    assert pairs([card(text=[0.0, 0.0])], [card(text=[1.0, 0.0])]) == [(0, 0, 0.5)]
    assert pairs([card(text=[1.0, 0.0], decoder=[1.0])], [card(text=[1.0, 0.0], decoder=[1.0, 0.0])]) == [(0, 0, 1.0)]
    assert pairs([card()], [card()]) == [(0, 0, 0.0)]


def test_effects_that_oppose_cap_the_score_and_those_of_two_kinds_are_not_compared() -> None:
    up, down = card(text=[1.0], effect=0.4), card(text=[1.0], effect=-0.4)
    assert pairs([up], [up]) == [(0, 0, 1.0)] and pairs([up], [down]) == [(0, 0, 0.49)]
    small = card(text=[1.0], effect=-0.01)
    assert pairs([up], [small]) == [(0, 0, pytest.approx(0.85 + 0.15 * (1 - 0.41 / 2), abs=1e-6))]
    associated = card(text=[1.0], effect=-0.4, provenance="association")
    assert pairs([up], [associated]) == [(0, 0, 1.0)]


def test_a_feature_may_stand_in_many_pairs_and_of_ties_for_the_last_place_the_later_stays() -> None:
    best, other = card(text=[1.0, 0.0]), card(text=[0.0, 1.0])
    assert [pair[:2] for pair in pairs([best], [best, other, best])] == [(0, 0), (0, 2), (0, 1)]
    assert [pair[:2] for pair in pairs([other], [best, best, other], top=2)] == [(0, 2), (0, 1)]
    assert pairs([best], [other], least=0.6) == []
