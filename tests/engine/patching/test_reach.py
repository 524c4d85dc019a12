"""Pairs that ask nothing: unrelated answers are found out at the rate that is claimed, wrong ways are named, and shares have intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp_tui_engine.circuits.ratio import halves, largest, of_correlation, share_of
from interp_tui_engine.patching.reach import Ends, reaches_of
from interp_tui_engine.patching.reach_report import lines, verdict, warnings
from interp_tui_engine.sites.answers import Answer

VOCAB = 300


def ends(seed: int = 0, move: float = 0.0) -> Ends:
    """Logits at two ends that differ everywhere, and by `move` in the odds of token 5 against token 9."""
    draw = torch.Generator().manual_seed(seed)
    clean, corrupt = torch.randn(2, VOCAB, generator=draw)
    clean[5] += move
    return Ends(clean, corrupt[None])


@pytest.mark.parametrize("metric", ["logit_diff", "prob", "logprob", "rank"])
def test_the_p_is_the_rank_among_unrelated_answers(metric):
    found = reaches_of(metric, [Answer((5,), (9,))], [ends(move=12.0)], 0)
    assert found.p < 0.01 and found.clear and found.mean > 0 and warnings(found) == [] and verdict(found) is None
    none = reaches_of(metric, [Answer((7,), (8,))], [ends()], 0)
    assert none.p > 0.05 and not none.clear
    assert "unrelated answers reach too" in warnings(none)[0] if none.mean > 0 else "less likely" in warnings(none)[0]


def test_values_are_those_of_the_metric_and_of_a_slow_loop():
    end, answer = ends(), Answer((5, 6), (9,))
    found = reaches_of("logit_diff", [answer], [end], 3)
    by_hand = [row[[5, 6]].logsumexp(0) - row[9] for row in (end.clean, end.corrupt[0])]
    assert (found.clean[0], found.corrupt[0]) == pytest.approx([float(value) for value in by_hand], abs=1e-5)
    difference = end.clean - end.corrupt[0]
    other = torch.tensor([token for token in range(VOCAB) if token not in (5, 6, 9)])
    drawn = other[torch.randint(0, len(other), (999, 3), generator=torch.Generator().manual_seed(3))]
    sizes = [float(end.clean[[a, b]].logsumexp(0) - end.corrupt[0][[a, b]].logsumexp(0) - difference[c]) for a, b, c in drawn.tolist()]
    assert found.unrelated == pytest.approx(np.abs(sizes).mean(), abs=1e-4)
    assert found.p == pytest.approx((1 + sum(size >= found.mean for size in sizes)) / 1000, abs=1e-9)


def test_swapped_answers_and_pairs_that_disagree_are_named():
    swapped = reaches_of("logit_diff", [Answer((9,), (5,))], [ends(move=12.0)], 0)
    assert "are answer and counterfactual swapped?" in warnings(swapped)[0] and swapped.clear is False and verdict(swapped)
    answers = [Answer((5,), (9,)), Answer((5,), (9,)), Answer((9,), (5,))]
    mixed = reaches_of("logit_diff", answers, [ends(s, 12.0) for s in range(3)], 0)
    assert mixed.opposed == [2] and "pair 3 of 3 goes the other way" in warnings(mixed)[0]
    assert mixed.stated().opposed == (3,) and "| 3 |" in "\n".join(lines(mixed))


def test_less_is_more_for_kl_and_rank_and_kl_asks_for_no_answer():
    found = reaches_of("kl", [Answer((5,))], [ends(move=12.0)], 0)
    assert found.clean == (0.0,) and found.mean > 0 and found.clear is None and warnings(found) == []


def test_a_share_has_the_interval_of_a_ratio():
    draw = np.random.default_rng(0)
    reach = draw.uniform(1, 3, 4000)
    share = share_of(0.6 * reach + draw.normal(0, 0.5, 4000), reach)
    assert share.value == pytest.approx(0.6, abs=3 * share.std_error) and share.low < 0.6 < share.high
    assert share.std_error == pytest.approx(0.5 / np.sqrt(4000) / 2, rel=0.05)
    assert share_of(np.ones(1), np.ones(1)).low is None


def test_pairs_that_share_a_prompt_are_no_evidence_of_their_own():
    """What is peculiar to a prompt is in all its pairs: 24 pairs of 12 prompts tell little more than 12 prompts do."""
    held = {"apart": 0, "sharing": 0}
    for seed in range(400):
        draw = np.random.default_rng(seed)
        pairs = [tuple(draw.choice(12, 2, replace=False).tolist()) for _ in range(24)]
        reach, peculiar = draw.uniform(1, 3, 24), draw.normal(0, 0.3, 12)
        gains = 0.6 * reach + peculiar[np.array(pairs)].sum(1) + draw.normal(0, 0.3, 24)
        for name, prompts in (("apart", None), ("sharing", pairs)):
            share = share_of(gains, reach, prompts)
            held[name] += share.low <= 0.6 <= share.high
    assert held["apart"] < 0.8 * 400 and 0.91 * 400 < held["sharing"] < 0.97 * 400


def test_prompts_that_no_two_pairs_share_change_nothing_and_one_in_all_is_said():
    draw = np.random.default_rng(3)
    reach = draw.uniform(1, 3, 6)
    gains = 0.6 * reach + draw.normal(0, 0.5, 6)
    assert share_of(gains, reach, [(f"a{i}", f"b{i}") for i in range(6)]) == share_of(gains, reach)
    star = share_of(gains, reach, [("hub", f"b{i}") for i in range(6)])
    assert star.in_all and star.std_error >= share_of(gains, reach).std_error
    assert star.uncertainty("6 pairs").over == "6 pairs, one prompt in all of them"
    twice = share_of(gains[:2], reach[:2], [("a", "b"), ("b", "a")])
    assert twice.in_all and twice.low == share_of(gains[:2], reach[:2]).low, "no more can be known of two prompts"


def test_the_largest_of_many_is_measured_where_it_was_not_chosen():
    draw = np.random.default_rng(1)
    noise = draw.normal(0, 1, (8, 400))
    chosen = largest(noise, np.ones(8), 0, signed=True)
    assert noise.mean(0).max() > 0.8 and abs(chosen.share.value) < 0.8
    noise[:, 7] += 5
    assert largest(noise, np.ones(8), 0, signed=True).cells == (7, 7)
    assert largest(noise[:1], np.ones(1), 0, signed=True) is None
    first, second = halves(9, 0)
    assert sorted(first + second) == list(range(9)) and len(first) == 4


def test_the_interval_of_a_correlation_is_fishers():
    bar = of_correlation(0.5, 28, "28 parts")
    assert (bar.low, bar.high) == pytest.approx((0.156, 0.736), abs=2e-3) and not of_correlation(None, 28, "").has_bar
