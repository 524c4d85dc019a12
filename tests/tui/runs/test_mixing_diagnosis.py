"""Whether chains have mixed, in words, on traces whose answer is known."""

from __future__ import annotations

import math
import random

import pytest

from interp_tui.runs.mixing_diagnosis import Drift, drift, verdict
from interp_tui.runs.traces import DrawSeries


def noisy(level: float, slope: float = 0.0, draws: int = 200, sd: float = 0.01, seed: int = 0) -> DrawSeries:
    rng = random.Random(seed)
    trace = DrawSeries()
    for draw in range(draws):
        trace.add(draw, level + slope * draw / draws + rng.gauss(0, sd))
    return trace


def test_drift_is_the_share_by_which_the_estimate_still_moves() -> None:
    # a line from 3.1 to 3.3 over an initial loss of 3.0: the halves' means are 3.15 and 3.25, their middle 0.2 above the initial loss
    found = drift([noisy(3.1, 0.2, sd=0.0)], 0, 3.0, 100.0)
    assert found is not None
    assert found.share == pytest.approx(0.1 / 0.2, rel=0.01)
    assert found.clear


def test_stationary_noise_does_not_drift() -> None:
    clear = 0
    for seed in range(100):
        found = drift([noisy(3.2, seed=seed)], 0, 3.19, 200.0)
        assert found is not None
        clear += found.clear
    # beyond two standard errors 4.6 % of the time; 100 runs give more than 14 with probability below 1e-4
    assert clear <= 14


def test_no_drift_without_enough_draws_or_an_initial_loss() -> None:
    assert drift([noisy(3.2, draws=19)], 0, 3.0, None) is None
    assert drift([noisy(3.2)], 0, None, None) is None
    assert drift([], 0, 3.0, None) is None


@pytest.mark.parametrize(
    ("draws", "rhat", "ess", "moving", "said"),
    [
        (0, None, None, None, "no draws yet"),
        (5, 1.0, 10.0, None, "too early to say: 5 draws"),
        (100, 1.3, 200.0, Drift(0.12, 5.0), "still drifting: +12.0 %"),
        (100, 1.3, 200.0, Drift(0.12, 1.0), "not mixed yet: R̂ 1.30"),
        (100, 1.02, 30.0, None, "few independent draws: ESS 30"),
        (100, 1.07, 300.0, None, "nearly mixed: R̂ 1.07"),
        (100, 1.01, 300.0, Drift(0.01, 3.0), "mixing well"),
        (100, None, None, None, "no diagnosis yet"),
        (100, None, 300.0, None, "mixing well"),
    ],
)
def test_the_first_rule_that_holds_speaks(draws: int, rhat: float | None, ess: float | None, moving: Drift | None, said: str) -> None:
    assert verdict(draws=draws, rhat=rhat, ess=ess, moving=moving)[0] == said


def test_a_loss_that_never_rose_is_no_division_by_zero() -> None:
    assert drift([noisy(3.0, sd=0.0)], 0, 3.0, None) == Drift(0.0, 0.0)
    flat = drift([noisy(3.0, 0.1, sd=0.0)], 0, 3.05 - 0.1 / 400, None)
    assert flat is not None
    assert not math.isnan(flat.share)
