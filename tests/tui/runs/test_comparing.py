"""Runs compared by what they mean: differences in their own error, curves with bands, grids less each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from cli_tools import cli
from fake_run import sampling

from interp_tui.runs import curves, grids, meaning, run_rows
from interp_tui.runs.comparison import compare
from interp_tui.runs.curves import RunCurve
from interp_tui.runs.grids import LabelledGrid
from interp_tui.runs.preview import read as read_preview
from interp_tui.runs.runstate import RunState
from interp_tui.runs.session import read_run
from interp_tui.views.overlay import Drawn, SharedFigure, figures
from interp_tui_engine.events import Metrics, Stamped
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.uncertainty import Uncertainty

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]


def llc(make_run: MakeRun, name: str, mean: float, error: float | None, **params: Any) -> RunFolder:
    bar = {"uncertainty": {"llc_mean": Uncertainty("4 chains", std_error=error).as_json()}} if error is not None else {}
    tables = {"seed": 1, "model": {"source": "builtin:tiny"}, "params": {"n_beta": 30.0, "lr": 1e-4, **params}}
    return make_run(name, headline={"llc_mean": mean, "rhat": 1.01, **bar}, tables=tables, result={"kind": "llc", "llc_mean": mean, **bar})


def test_a_difference_is_counted_in_its_own_standard_errors(make_run: MakeRun) -> None:
    left, right = (meaning.side(llc(make_run, name, mean, 3.0)) for name, mean in (("a", 40.0), ("b", 52.0)))
    first = meaning.differences(left, right)[0]
    assert first.name == "llc_mean" and first.errors == pytest.approx(12 / math.hypot(3, 3)) and first.clear
    assert first.change == "+12.0 ± 4.2"
    close = meaning.differences(left, meaning.side(llc(make_run, "c", 41.0, 3.0)))[0]
    assert close.clear is False
    assert meaning.std_error({"llc_mean": 1.0, "llc_std_error": 0.5}, "llc_mean") == 0.5, "a run that goes on states it so"
    bare = meaning.differences(left, meaning.side(llc(make_run, "d", 60.0, None)))[0]
    assert bare.errors is None and bare.clear is None and bare.change == "+20.0"


def test_estimates_taken_with_other_settings_are_not_one_quantity(make_run: MakeRun) -> None:
    sides = [meaning.side(llc(make_run, "a", 40.0, 3.0)), meaning.side(llc(make_run, "b", 52.0, 3.0, n_beta=3000.0))]
    (warning,) = meaning.warnings(sides)
    assert "not one quantity" in warning and "n_beta 30" in warning and "3,000" in warning
    assert meaning.warnings([sides[0], sides[0]]) == []


def test_runs_of_other_kinds_say_what_they_share(make_run: MakeRun) -> None:
    one = meaning.side(llc(make_run, "a", 40.0, 3.0))
    other = meaning.side(make_run("t", kind="causal_trace", tables={"seed": 2, "model": {"source": "builtin:tiny"}}))
    assert meaning.differences(one, other) == []
    assert meaning.shared([one, other]) == ["the model builtin:tiny"]
    assert meaning.shared([one, meaning.side(make_run("u", kind="probe", tables={"model": {"source": "other"}}))]) == []


def test_a_preview_says_of_what_its_loss_is_the_mean(make_run: MakeRun) -> None:
    for name, values, over_chains in (("llc", [1.0, 3.0], True), ("train_sae", 2.0, False)):
        folder = make_run(name, kind=name, events=[Metrics("chains", step, {"loss": values}) for step in range(3)])
        seen = read_preview(read_run(folder))
        assert seen.loss == (2.0, 2.0, 2.0) and seen.over_chains is over_chains
        text = run_rows.preview(read_run(folder), seen, 80, ascii=False).plain
        assert ("mean over chains" in text) is over_chains


# -- curves


def state_of(events: list[Any]) -> RunState:
    state = RunState()
    state.apply_all(Stamped(seq, float(seq), event) for seq, event in enumerate(events, 1))
    return state


def test_a_sampling_runs_loss_is_its_mean_in_the_chains_spread() -> None:
    trace = [[[0, 1.0], [1, 2.0], [2, 3.0]], [[0, 3.0], [1, 4.0], [2, 5.0]]]
    found = curves.of_state(state_of([Metrics("chains", 3, {"chains": [0, 1], "trace": trace})]), 10)["loss"]
    assert found.points == ((0, 2.0), (1, 3.0), (2, 4.0))
    assert found.low[0] == (0, pytest.approx(2 - math.sqrt(2))) and found.high[2] == (2, pytest.approx(4 + math.sqrt(2)))
    assert found.at(1.2) == (3.0, pytest.approx(math.sqrt(2))) and found.at(9) is None


def test_a_chain_that_failed_is_in_no_curve() -> None:
    whole, cut = (curves.of_state(state_of(sampling(100, fail=fail)), 50)["loss"] for fail in ({}, {2: 31}))
    assert len(cut.points) == len(whole.points) and cut.points != whole.points


def test_the_running_estimate_has_the_error_it_had_then() -> None:
    events = [Metrics("estimate", step, {"llc_mean": 10.0 + step, "llc_std_error": 1.0 / step}) for step in range(1, 6)]
    found = curves.of_state(state_of(events), 100)["running λ̂"]
    assert found.points[0] == (1, 11.0) and found.low[0] == (1, 10.0) and found.high[4] == (5, pytest.approx(15.2))


def test_numbers_by_layer_are_curves() -> None:
    bars = {f"auroc.{place}": {"low": 0.4, "high": 0.6} for place in range(3)}
    result = {"layers": [0, 1, 2], "auroc": [0.5, 0.6, None], "answer_prob": [0.1, 0.2, 0.9], "top": ["a", "b", "c"], "uncertainty": bars}
    found = curves.of_result(result)
    assert list(found) == ["answer_prob by layer"], "two points are no curve, and words are none"
    found = curves.of_result(result | {"auroc": [0.5, 0.6, 0.7]})
    assert found["auroc by layer"].low == ((0.0, 0.4), (1.0, 0.4), (2.0, 0.4))


# -- grids


TRACE = {"layers": [0, 1], "tokens": ["The", " France"], "recovery": {"resid_post": [[0.0, 0.5], [0.25, 1.0]]}}


def test_curves_lie_over_each_other_where_they_count_the_same() -> None:
    points = ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0))
    draws, steps = RunCurve(points, "draws"), RunCurve(points, "steps")
    assert figures([Drawn("llc", {"loss": draws}), Drawn("train_sae", {"loss": steps})]) == [], "two quantities of one name"
    (figure,) = figures([Drawn("a", {"loss": draws}), Drawn("b", {"loss": steps}), Drawn("c", {"loss": draws})])
    assert figure == SharedFigure("loss", axis="draws")
    assert [figure.name for figure in figures([Drawn("a", {"loss": draws, "score": steps})])] == ["loss", "score"], "one run has its own"


def test_one_grid_less_another() -> None:
    left = grids.read(TRACE)["recovery.resid_post"]
    assert left == LabelledGrid(("L0", "L1"), ("The", "France"), ((0.0, 0.5), (0.25, 1.0)))
    other = {**TRACE, "tokens": ["The", " Japan"], "recovery": {"resid_post": [[0.0, 0.75], [None, 1.0]]}}
    found = grids.difference(left, grids.read(other)["recovery.resid_post"])
    assert found == LabelledGrid(("L0", "L1"), ("The", "France|Japan"), ((0.0, 0.25), (None, 0.0)))


def test_grids_that_share_only_some_rows_and_columns() -> None:
    left = LabelledGrid(("a", "b"), ("the", "x", "the"), ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    right = LabelledGrid(("b", "c"), ("the", "the"), ((10.0, 20.0), (0.0, 0.0)))
    assert grids.difference(left, right) == LabelledGrid(("b",), ("the", "the"), ((6.0, 14.0),))
    assert grids.difference(left, LabelledGrid(("z",), ("the",), ((1.0,),))) is None


def test_tables_of_tables_are_grids_and_other_things_are_not() -> None:
    found = grids.read(
        {"mean": {"l0h0": {"code": 1.0, "prose": -2.0}, "l0h1": {"code": 0.5, "prose": None}}, "shift": {"a": {"x": "word"}}}
    )
    assert list(found) == ["mean"] and found["mean"].values == ((1.0, -2.0), (0.5, None))
    assert grids.read({"layers": [0], "a": [[1.0] * 300], "b": "text", "uncertainty": {"a": {"low": 1.0}}}) == {}


def test_more_than_two_runs_stand_beside_each_other(make_run: MakeRun) -> None:
    folders = [llc(make_run, name, mean, 3.0) for name, mean in (("a", 40.0), ("b", 52.0), ("c", 40.0))]
    (line,) = [line for line in compare(*folders) if line.key == "llc_mean"]
    assert line.values == ("40.0 ± 3.0", "52.0 ± 3.0", "40.0 ± 3.0") and line.differs and line.change == ""
