"""How sure a number is, through result.json and back."""

from __future__ import annotations

import math

import pytest

from interp_tui_engine import uncertainty
from interp_tui_engine.uncertainty import Uncertainty, describe, headline_text, none_known, of_headline, value_at
from interp_tui_engine.uncertainty_report import section


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


@pytest.mark.parametrize(
    ("value", "bar", "text"),
    [
        (38.21, Uncertainty("4 chains", std_error=0.93), "38.21 ± 0.93"),
        (0.8123, Uncertainty("24 pairs", low=0.72, high=0.88), "0.812 [0.720, 0.880]"),
        (0.55, Uncertainty("24 pairs", low=0.4, high=0.7, control=0.5, clear=False), "0.55 [0.40, 0.70] (not clear of its control, 0.500)"),
        (3.0, Uncertainty("2 seeds", std_error=2.0, clear=False), "3.0 ± 2.0 (not clear of its control)"),
        (38.21, none_known("one chain"), "38.2 (no error bar: one chain)"),
        (38.21, Uncertainty(std_error=math.nan), "38.2 (no error bar)"),
        (0.0, Uncertainty(low=0.0, high=0.0), "0 [0, 0]"),
        (12345.6, None, "12,346"),
        (math.nan, None, "—"),
    ],
)
def test_a_number_is_worded_with_its_bar(value: float, bar: Uncertainty | None, text: str) -> None:
    assert describe(value, bar) == text


def test_names_lead_into_tables_and_lists_and_may_hold_dots() -> None:
    values = {"best": {"auroc": 0.9}, "cases": [{"estimate": 1.5}], "effects": {"blocks.0": {"mean": 2}}, "flag": True, "curve": [1.0, 2.0]}
    names = ("best.auroc", "cases.0.estimate", "effects.blocks.0.mean", "curve.1")
    assert [value_at(values, name) for name in names] == [0.9, 1.5, 2.0, 2.0]
    assert [value_at(values, name) for name in ("best", "cases.3.estimate", "cases.x", "flag", "none", "best.auroc.x")] == [None] * 6


def test_a_headline_takes_the_bar_of_its_number_wherever_that_stands() -> None:
    values = {"llc_mean": 3.0, "best": {"auroc": 0.9}, "worst": {"auroc": 0.4}}
    bars = {"llc_mean": none_known("one chain"), "worst.auroc": none_known("w"), "best.auroc": none_known("b")}
    assert of_headline({"llc_mean": 3.0, "auroc": 0.9, "layer": 3}, values, bars) == {
        "llc_mean": bars["llc_mean"],
        "auroc": bars["best.auroc"],
    }


def test_tables_of_reports_show_whole_numbers_whole() -> None:
    bars = {"llc": Uncertainty("4 chains", std_error=0.5).as_json()}
    headline = {"llc": 3.25, "rows": 128_000, "auroc": 0.123456, "top": "l2/7", "uncertainty": bars}
    assert [headline_text(headline, key) for key in ("llc", "rows", "auroc", "top")] == ["3.25 ± 0.50", "128000", "0.1235", None]


def test_the_report_says_how_sure_it_is_and_shows_names_as_text() -> None:
    values = {"a|b": 1.0, "auroc": 0.55}
    bars = {"a|b": none_known("one <b>chain</b>"), "auroc": Uncertainty("24 pairs", low=0.4, high=0.7, level=0.9, control=0.5, clear=False)}
    text = section(values, bars)
    assert "`a¦b` | 1.00 (no error bar: one \\<b\\>chain" in text
    assert "| `auroc` | 0.55 [0.40, 0.70] (90%) | 24 pairs | 0.500 | no |" in text
    assert section(values, {}) == ""


def test_what_an_interval_allows_for_is_said_beside_it():
    """Else the interval of the strongest of three looks like another one than the table of all three has."""
    bar = Uncertainty("24 prompts", low=-0.16, high=0.65, note="the strongest of 3: the interval holds for all of them at once")
    text = section({"effect": 0.25, "r": 0.5}, {"effect": bar, "r": Uncertainty(note="one pair")})
    assert "| 24 prompts; the strongest of 3: the interval holds for all of them at once |" in text
    assert "| `r` | 0.500 (no error bar: one pair) | one pair |" in text
