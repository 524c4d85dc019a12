"""Per-chain metrics in the sampling view: shown where a run measures them, and not otherwise."""

from __future__ import annotations

from typing import Any

from interp_tui.runs.runstate import RunState
from interp_tui.views.sampling_parts import parts_text
from interp_tui_engine.events import Metrics, Stamped

PART = {"gradient": 0.0169, "pull": 0.132, "noise": 10.1, "drift": 0.133, "distance": 26.3}


def lines_of(values: dict[str, Any], *, ascii: bool) -> str:
    state = RunState()
    state.apply(Stamped(1, 1.0, Metrics("chains", 1, values)))
    return parts_text(state.step_parts(), {}, ascii=ascii).plain


def test_a_line_a_chain_with_drift_over_noise() -> None:
    lines = lines_of({"chains": [0, 1, 2], "parts": [PART, None, PART | {"noise": 0.0}]}, ascii=True).strip().splitlines()
    assert lines[0].split()[:3] == ["chain", "|gradient|", "|pull|"]
    assert lines[1].split() == ["0", "0.0169", "0.132", "10.1", "0.133", "26.3", "0.0132"]
    assert lines[2].split()[-1] == "-", "no noise, no ratio"
    assert len(lines) == 3, "a chain that has not stepped yet has no line"


def test_nothing_where_nothing_is_measured_or_sense_is_made() -> None:
    for values in ({}, {"chains": [0]}, {"chains": [0], "parts": [None]}, {"chains": 3, "parts": 4}, {"chains": ["x"], "parts": [7]}):
        assert lines_of(values, ascii=False) == ""
