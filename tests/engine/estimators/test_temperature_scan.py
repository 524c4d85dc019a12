"""What a scan over n_beta says of λ̂: a plateau, a rise, or the fall of weights that are no minimum."""

from __future__ import annotations

import pytest

from interp_tui_engine.estimators.learning_coefficients import quadratic_sgld
from interp_tui_engine.estimators.temperature_scan import TemperaturePoint, verdict_on

CURVATURES = [0.5, 1.0, 2.0, 4.0] * 6
GAMMA, LR = 10.0, 1e-5


def scanned(*n_betas: float, slope: float = 0.0) -> list[TemperaturePoint]:
    """λ̂ of a quadratic's own law; with a slope at w0 the loss can fall by slope² / 2 (h + γ/nβ) below that at w0 in each direction."""
    fallen = {n: sum(n * slope**2 * (h / 2 + GAMMA / n) / (h + GAMMA / n) ** 2 for h in CURVATURES) for n in n_betas}
    return [TemperaturePoint(n, quadratic_sgld(CURVATURES, n, GAMMA, LR) - fallen[n], 0.1) for n in n_betas]


def test_a_minimum_levels_off_where_the_loss_prevails_over_localization() -> None:
    cold, warm = scanned(1000.0, 3000.0, 10_000.0), scanned(1.0, 3.0, 10.0)
    assert verdict_on(cold, 3000.0).endswith("a plateau") and "11.9 ± 0.1" in verdict_on(cold, 3000.0)
    assert "it measures n_beta too" in verdict_on(warm, 3.0)


def test_where_w0_is_no_minimum_colder_chains_fall_below_it() -> None:
    points = scanned(100.0, 1000.0, 10_000.0, slope=0.03)
    assert points[0].llc > points[1].llc > points[2].llc
    assert "no minimum" in verdict_on(points, 100.0)


def test_neither_one_temperature_nor_two_that_are_close_nor_poorly_known_ones_make_a_plateau() -> None:
    assert verdict_on(scanned(1000.0), 1000.0).startswith("no other n_beta was tried")
    assert "no plateau" in verdict_on([TemperaturePoint(1000.0, 12.0, 0.1), TemperaturePoint(1100.0, 12.0, 0.1)], 1000.0)
    assert "no plateau" in verdict_on([TemperaturePoint(1000.0, 12.0, 9.0), TemperaturePoint(3000.0, 12.5, 9.0)], 1000.0)


@pytest.mark.parametrize(("at", "plateau"), [(100.0, False), (3000.0, True)])
def test_the_plateau_is_asked_for_at_the_temperature_in_use(at: float, plateau: bool) -> None:
    points = [TemperaturePoint(100.0, 5.0, 0.1), TemperaturePoint(1000.0, 10.0, 0.1), TemperaturePoint(3000.0, 10.5, 0.1)]
    assert ("a plateau" in verdict_on(points, at)) is plateau
