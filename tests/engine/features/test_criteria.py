"""Criteria: templates, rules, splits, and the checks that find what else could explain a result."""

from __future__ import annotations

import pytest

from interp_tui_engine.errors import UserError
from interp_tui_engine.features import criteria
from interp_tui_engine.features.prompts import Prompt

PLACES = {"country": ["France", "Peru", "Japan"], "thing": ["capital", "currency"]}


def test_templates_are_filled_in_order_and_once() -> None:
    found = criteria.candidates(["The {thing} of {country} is", "No slot", "No slot"], PLACES, 1.0)
    assert [p.text for p in found] == [f"The {t} of {c} is" for t in ("capital", "currency") for c in ("France", "Peru", "Japan")] + [
        "No slot"
    ]
    assert len({p.id for p in found}) == 7
    with pytest.raises(UserError, match=r"slot 'contry' without values(.|\n)*did you mean 'country'"):
        criteria.candidates(["{contry}"], PLACES, 1.0)


@pytest.mark.parametrize(
    ("rule", "text", "score"),
    [
        ("words: Paris, rome", "in PARIS.", 1),
        ("words: paris", "comparison", 0),
        ("words: c++", "in C++ we", 1),
        ("regex: \\d+ m$", "5 m", 1),
    ],
)
def test_rules(rule: str, text: str, score: float) -> None:
    assert criteria.rule(rule)(text) == score


@pytest.mark.parametrize("bad", ["paris", "words:", "regex: (", "wrds: a"])
def test_bad_rules(bad: str) -> None:
    with pytest.raises(UserError):
        criteria.rule(bad)


def prompts(pairs: list[tuple[str, float]]) -> list[Prompt]:
    return [Prompt(text, score, str(i)) for i, (text, score) in enumerate(pairs)]


def found(pairs: list[tuple[str, float]]) -> set[str]:
    return {finding.check for finding in criteria.check(prompts(pairs), positive_above=0.5)}


def test_what_else_could_explain_a_result() -> None:
    fair = [(f"{a} {b}", float(i % 2)) for i, (a, b) in enumerate([("x", "y"), ("y", "x"), ("z", "w"), ("w", "z")] * 1)]
    assert found(fair) == set()
    assert found([("a", 1.0), ("b", 1.0)]) == {"balance"}
    assert "balance" in found([(f"w{i} x", float(i == 0)) for i in range(10)])
    assert "length" in found([("short", 0.0), ("brief", 0.0), ("a long one here", 1.0), ("another longer one", 1.0)])
    assert "leakage" in found([("same  Text", 1.0), ("same text", 0.0), ("b", 1.0), ("c", 0.0)])
    assert "word" in found([(f"the ship {i}", 1.0) for i in range(5)] + [(f"the boat {i}", 0.0) for i in range(5)])


def test_a_split_keeps_texts_and_fillings_together() -> None:
    everything = criteria.candidates(["The {thing} of {country}", "{country}: {thing}"], PLACES, 1.0) + prompts(
        [(f"n {i}", 0.0) for i in range(10)]
    )
    train, test = criteria.split(everything, test=0.5, positive_above=0.5, seed=3)
    assert len(train) + len(test) == len(everything)
    assert {p.text for p in train}.isdisjoint(p.text for p in test)
    sides = [{tuple(sorted(p.extra["slots"].items())) for p in part if p.score} for part in (train, test)]
    assert not sides[0] & sides[1], "two templates filled alike are one fact"
    assert sum(p.score == 0 for p in test) == 5
