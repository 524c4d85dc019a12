"""How sure a number is, through result.json and back."""

from __future__ import annotations

import math

from interp_tui_engine import uncertainty
from interp_tui_engine.uncertainty import Uncertainty, none_known


def test_it_survives_the_file() -> None:
    bars = {
        "llc_mean": Uncertainty("4 chains", std_error=0.5, low=10.0, high=12.0, control=1.0, clear=True),
        "best.auroc": none_known("one row"),
    }
    assert uncertainty.read({"uncertainty": {name: bar.as_json() for name, bar in bars.items()}}) == bars


def test_what_is_not_finite_is_no_bar() -> None:
    bar = Uncertainty("2 chains", std_error=math.nan, low=math.inf)
    assert not bar.has_bar and bar.as_json() == {"over": "2 chains"}


def test_a_damaged_table_is_read_as_far_as_it_goes() -> None:
    damaged = {"a": {"std_error": "0.5", "over": 3}, "b": 7, "c": {"std_error": 0.5, "clear": "yes", "level": None}}
    found = uncertainty.read({"uncertainty": damaged})
    assert set(found) == {"a", "c"} and not found["a"].has_bar and found["c"] == Uncertainty(std_error=0.5)
    assert uncertainty.read({}) == uncertainty.read({"uncertainty": [1]}) == {}
