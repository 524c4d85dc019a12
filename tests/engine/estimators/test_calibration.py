"""The verdict of a calibration: each thing that can speak against a setting, and the choice among those that are left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interp_tui_engine.estimators.calibration import Setting, Shown, drift_of, judge, verdict

GOOD = Shown(
    Setting(1e-4, 30.0, 100.0), rise=0.1, llc=3.0, llc_error=0.1, rhat=1.01, ess=80.0, acceptance=0.8, drift=0.0, drift_error=0.01, chains=4
)
CONTROL = Shown(Setting(1e-4, 0.0, 100.0), rise=2.0, chains=4)


def at(shown: Shown, **setting: float) -> Shown:
    return replace(shown, setting=replace(shown.setting, **setting))


def test_a_good_setting_has_nothing_against_it():
    assert judge(GOOD, CONTROL).usable


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"failed": 1}, "1 of 4 chains went non-finite"),
        ({"rise": None}, "no estimate"),
        ({"rise": -0.01}, "fell below"),
        ({"llc": 0.9, "llc_error": 3.4}, "λ̂ 0.9 ± 3.4 is not clear of 0"),
        ({"rhat": None}, "R̂ is not defined"),
        ({"rhat": 1.4}, "R̂ 1.40: the chains do not agree"),
        ({"drift": 0.05, "drift_error": 0.001}, "drifts, by +0.05 nats"),
        ({"rise": 1.5}, "75% as far as without any pull"),
        ({"rise": 9.0}, "4.5 times as far as without its pull: lr is too large"),
    ],
)
def test_what_speaks_against_a_setting(change, why):
    judged = judge(replace(GOOD, **change), CONTROL)
    assert len(judged.against) == 1 and why in judged.against[0]


def test_drift_within_its_error_or_within_a_tenth_of_the_rise_is_none():
    assert judge(replace(GOOD, drift=0.02, drift_error=0.01), CONTROL).usable
    assert judge(replace(GOOD, drift=0.009, drift_error=0.0), CONTROL).usable


def test_drift_is_the_second_half_less_the_first():
    trace = np.stack([np.r_[np.zeros(5), np.ones(5)], np.r_[np.zeros(5), 2 * np.ones(5)]])
    moved, error = drift_of(trace)
    assert moved == pytest.approx(1.5) and error == pytest.approx(0.5)
    assert drift_of(np.full((2, 10), np.nan)) == (None, None)
    assert drift_of(trace[:1, :2]) == (0.0, None), "one chain of two draws varies by nothing that could be seen"


def test_chains_that_move_together_with_their_batches_do_not_pass_for_a_drift():
    """Four chains on the same noisy batches, 400 times: hardly any may seem to drift by three errors."""
    rng = np.random.default_rng(0)
    far = 0
    for _ in range(400):
        trace = rng.normal(0, 0.3, (1, 40)) + rng.normal(0, 0.01, (4, 40))
        moved, error = drift_of(trace)
        far += abs(moved) > 3 * error
    # t with 38 degrees of freedom lies beyond 3 in 0.48 % of cases: 2 of 400, and more than 8 once in 2,000 tries of this test
    assert far <= 8
    moved, error = drift_of(rng.normal(0, 0.3, (4, 40)) + np.linspace(0, 2, 40))
    assert moved > 3 * error, "a loss that rises is still seen"


def test_the_nearest_setting_is_not_one_whose_steps_are_too_large():
    hot = at(replace(GOOD, rise=9.0, rhat=0.98), lr=1e-3)
    found, _ = verdict([hot, replace(GOOD, drift=0.5), CONTROL, at(CONTROL, lr=1e-3)])
    assert not found.usable and found.chosen.shown.setting.lr == 1e-4


def test_the_choice_is_the_usable_setting_with_most_independent_draws():
    cells = [GOOD, at(replace(GOOD, ess=120.0), lr=3e-4), at(replace(GOOD, ess=500.0, rhat=2.0), lr=1e-3), CONTROL]
    found, judged = verdict(cells)
    assert found.usable and found.chosen.shown.setting.lr == 3e-4 and found.text == "use lr 0.0003, n_beta 30, localization 100"
    assert len(judged) == 3, "a control is no choice"
    assert any("agrees with 3 at lr 0.0001" in reason for reason in found.reasons)


def test_a_step_size_whose_estimate_smaller_steps_do_not_bear_out_is_not_the_choice():
    """Larger steps mix faster, so they have more independent draws; of another law."""
    biased = at(replace(GOOD, ess=400.0, llc=4.5), lr=1e-3)
    found, judged = verdict([GOOD, biased, CONTROL, at(CONTROL, lr=1e-3)])
    assert found.chosen.shown is GOOD
    assert judged[1].against == ("λ̂ 4.5 is 3 with steps of 0.0001: lr is too large",)
    within = replace(biased, llc=4.5, llc_error=1.0)
    assert verdict([GOOD, within, CONTROL, at(CONTROL, lr=1e-3)])[0].chosen.shown is within, "within two errors of their difference"
    failing = replace(GOOD, rhat=2.0)
    assert verdict([failing, biased, CONTROL, at(CONTROL, lr=1e-3)])[0].chosen.shown is biased, "held to none that does not hold itself"


def test_without_a_usable_setting_it_says_what_is_nearest_and_what_to_try():
    found, _ = verdict([replace(GOOD, rise=1.5), at(replace(GOOD, rise=1.9, rhat=1.5), lr=1e-3), CONTROL, at(CONTROL, lr=1e-3)])
    assert not found.usable and found.chosen.shown.setting.lr == 1e-4
    assert (
        found.text.startswith("no setting is usable; nearest: lr 0.0001")
        and found.reasons[-1] == "try a larger n_beta, or a smaller localization"
    )
    found, _ = verdict([replace(GOOD, failed=4, rise=None), CONTROL])
    assert found.reasons[-1] == "try smaller lr, or a larger localization"


def test_a_control_whose_chains_all_failed_shows_that_the_loss_holds_the_chains():
    found, _ = verdict([GOOD, replace(CONTROL, rise=None, failed=4)])
    assert found.usable and any("the loss holds them" in reason for reason in found.reasons)


def test_it_says_whether_the_estimate_levels_off_over_temperatures():
    warmer = at(replace(GOOD, llc=1.2, ess=20.0), n_beta=10.0)
    colder = at(replace(GOOD, llc=3.1, ess=20.0), n_beta=100.0)
    found, _ = verdict([warmer, GOOD, colder, CONTROL])
    assert found.reasons[-1] == "λ̂ is 1.2 ± 0.1, 3 ± 0.1, 3.1 ± 0.1 at n_beta 10, 30, 100: a plateau"
    alone, _ = verdict([GOOD, at(colder, lr=1e-3), CONTROL, at(CONTROL, lr=1e-3)])
    assert alone.reasons[-1].startswith("no other n_beta was tried")
