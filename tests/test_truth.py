"""The simulations with known answers in their short form: do bars cover, and controls control, as often as is claimed?

The long form is `make truth`; seeds are fixed, so that a test passes or fails, whatever the day.
"""

from __future__ import annotations

import pytest

from truth import bif, certify, inspect, llc, probe, susceptibilities, train_sae
from truth.outcome import Outcome


@pytest.mark.parametrize(
    "module", [bif, certify, inspect, llc, probe, susceptibilities, train_sae], ids=lambda module: module.__name__.rpartition(".")[2]
)
def test_rates_are_as_claimed(module: object) -> None:
    rates = list(module.outcomes(True))  # type: ignore[attr-defined]
    assert rates and not [rate for rate in rates if not rate.holds]


@pytest.mark.parametrize(
    ("what", "hits", "trials", "nominal", "holds"),
    [
        ("coverage", 190, 200, 0.95, True),
        ("coverage", 200, 200, 0.95, True),
        ("coverage", 170, 200, 0.95, False),
        ("coverage", 17, 20, 0.95, True),
        ("false positives", 14, 200, 0.05, True),
        ("false positives", 30, 200, 0.05, False),
        ("power", 0, 10, None, True),
    ],
)
def test_what_a_rate_can_tell(what: str, hits: int, trials: int, nominal: float | None, holds: bool) -> None:
    assert Outcome("llc", what, "a case", hits, trials, nominal).holds is holds  # type: ignore[arg-type]
