"""A number's uncertainty, worded alike wherever a run is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cli_tools import Cli, cli

from interp_tui.runs.comparison import compare
from interp_tui.text.numbers import headline, quantities
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.uncertainty import Uncertainty, none_known

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]

LLC = {"llc_mean": Uncertainty("4 chains", std_error=0.93), "rhat": none_known("one seed")}
PROBE = {"best.auroc": Uncertainty("24 pairs", low=0.4, high=0.7, control=0.5, clear=False)}


def stored(bars: Mapping[str, Uncertainty]) -> dict[str, Any]:
    return {name: bar.as_json() for name, bar in bars.items()}


@pytest.fixture
def runs(make_run: MakeRun) -> list[RunFolder]:
    numbers = {"llc_mean": 38.21, "llc_std_error": 0.9, "rhat": 1.02}
    other = numbers | {"llc_mean": 41.0}
    best = {"best": {"auroc": 0.55, "layer": 3}}
    return [
        make_run("first", headline=numbers | {"uncertainty": stored(LLC)}, result={"kind": "llc", **numbers, "uncertainty": stored(LLC)}),
        make_run("second", result={"kind": "llc", **other, "uncertainty": stored(LLC)}),
        make_run("third", kind="probe", result={"kind": "probe", **best, "uncertainty": stored(PROBE)},
                 headline={"auroc": 0.55, "uncertainty": stored({"auroc": PROBE["best.auroc"]})}),
    ]  # fmt: skip


def test_a_headline_has_its_error_or_says_that_there_is_none() -> None:
    values = {"llc_mean": 38.21, "llc_std_error": 0.5, "rhat": 1.02, "uncertainty": stored(LLC)}
    assert headline(values) == "λ̂ 38.21 ± 0.93  R̂ 1.02 (no error bar: one seed)"
    assert headline(values, ascii=True).startswith("llc 38.21 +- 0.93")


def test_what_is_not_clear_of_its_control_is_marked_for_dimming() -> None:
    (auroc,) = quantities({"auroc": 0.55, "uncertainty": stored({"auroc": PROBE["best.auroc"]})})
    assert auroc == ("auroc", "0.55 [0.40, 0.70] (not clear of its control, 0.500)", True)


def test_a_damaged_uncertainty_is_left_out() -> None:
    assert headline({"llc_mean": 38.21, "uncertainty": [3]}) == "λ̂ 38.2"
    assert headline({"llc_mean": 38.21, "uncertainty": {"llc_mean": {"std_error": "x", "note": "\x1b[31m"}}}).isprintable()


def test_list_and_show_word_it_alike(cli: Cli, runs: list[RunFolder]) -> None:
    assert "λ̂ 38.21 ± 0.93" in cli("list").out and "0.55 [0.40, 0.70] (like control 0.500)" in cli("list").out
    shown = cli("show", "third").out
    assert "0.55 [0.40, 0.70] (not clear of its control, 0.500) over 24 pairs" in shown and "uncertainty." not in shown
    assert "38.21 ± 0.93 over 4 chains" in cli("show", "first").out


def test_compare_says_how_sure_the_difference_is(cli: Cli, runs: list[RunFolder]) -> None:
    (line,) = [line for line in compare(runs[0], runs[1]) if line.key == "llc_mean"]
    assert (line.left, line.right, line.change) == ("38.21 ± 0.93", "41.00 ± 0.93", "+2.8 ± 1.3")
    (line,) = [line for line in compare(runs[1], runs[0]) if line.key == "llc_mean"]
    assert line.change == "-2.8 ± 1.3"
    assert "41.00 ± 0.93" in cli("compare", "first", "second").out


def test_the_result_tab_has_a_part_on_it(cli: Cli, runs: list[RunFolder]) -> None:
    text = cli("show", "third", "--screen", "result").out
    assert "how sure" in text and "0.55 [0.40, 0.70] (not clear of its control, 0.500) over 24 pairs" in text


def test_a_page_and_a_table_hold_it(cli: Cli, runs: list[RunFolder]) -> None:
    assert "38.21 ± 0.93 over 4 chains" in cli("export", "first", "--to", "html").out
    assert "uncertainty.llc_mean.std_error" in cli("export", "first", "--to", "csv").out
