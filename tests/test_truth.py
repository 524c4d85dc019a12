"""The simulations with known answers in their short form: do bars cover, and controls control, as often as is claimed?

The long form is `make truth`; seeds are fixed, so that a test passes or fails, whatever the day.
"""

from __future__ import annotations

from itertools import islice
from types import ModuleType

import pytest

from truth import bif, certify, development, inspect, llc, probe, susceptibilities, train_sae
from truth.outcome import Outcome


@pytest.mark.parametrize(
    ("module", "rates"),
    # of those that sample themselves the first rates: all of them, of the short form too, take half a minute
    [(bif, None), (certify, 2), (development, None), (inspect, None), (llc, 1), (probe, None), (susceptibilities, None), (train_sae, None)],
    ids=lambda value: value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else "",
)
def test_rates_are_as_claimed(module: ModuleType, rates: int | None) -> None:
    outcomes = list(islice(module.outcomes(True), rates))
    assert outcomes and not [outcome for outcome in outcomes if not outcome.holds]


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
