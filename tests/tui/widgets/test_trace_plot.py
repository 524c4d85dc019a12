"""Plots as text: the size asked for, axes that hold still, and every number where it belongs."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from interp_tui.terminal.repaint_throttle import SLOWEST, Pace
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.trace import LABEL_WIDTH, POINTS_AT_MOST, Plot, PlotLine, columns_for, log_axis, render, y_axis

WAVE = [(float(x), 3.3 + 0.1 * math.sin(x / 9)) for x in range(150)]


@pytest.mark.parametrize("size", [(78, 9), (100, 27), (140, 40), (200, 60), (30, 5)])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("ascii", [False, True])
def test_a_plot_fills_its_room_exactly(size: tuple[int, int], log: bool, ascii: bool) -> None:
    plot = Plot(
        [PlotLine("chain 0", WAVE, "#6cb6ff")], 0, 200, "draws", log=log, references={"init": 3.19}, cursor=70, muted="#7d8896", ascii=ascii
    )
    lines = render(plot, *size).plain.split("\n")
    assert len(lines) == size[1]
    assert {cell_len(line) for line in lines} == {size[0]}
    assert "200 draws" in lines[-1]
    if ascii:
        assert "\n".join(lines).isascii()
        assert any("0" in line[LABEL_WIDTH:] for line in lines[:-1]), "a chain's number is its mark"


def test_labels_close_to_each_other_stand_alike_from_one_start_to_the_next() -> None:
    script = """
from interp_tui.widgets.trace import Plot, PlotLine, render
names = ["step-0", "step-50", "step-100", "step-150", "step-250", "step-700", "final"]
ticks = {float(at): name for at, name in enumerate(names)}
print(render(Plot([PlotLine("a", [(at, at) for at in ticks], "")], -0.5, 6.5, x_ticks=ticks), 78, 8).plain.split("\\n")[-1])
"""
    seeds = ("0", "1", "5")
    rows = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in seeds
    }
    assert len(rows) == 1 and next(iter(rows)).split() == ["step-0", "step-50", "step-100", "step-150", "step-250", "step-700", "final"]


def test_nothing_to_draw_draws_nothing() -> None:
    assert render(Plot(), 80, 10).plain == ""
    assert render(Plot([PlotLine("chain 0", [(0, -1.0)], "")], log=True), 80, 10).plain == ""


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(2, 10))
@settings(max_examples=100, deadline=None)
def test_an_axis_holds_its_values_and_its_labels_fit(values: list[float], wanted: int) -> None:
    low, high, ticks = y_axis(values, wanted)
    assert low <= min(values)
    assert high >= max(values)
    assert all(low - 1e-6 * abs(low) <= y <= high + 1e-6 * abs(high) for y, _ in ticks)
    assert all(len(label) < LABEL_WIDTH + 2 for _, label in ticks)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_log_axis_is_positive_and_holds_its_values(values: list[float]) -> None:
    low, high, ticks = log_axis(values, 4)
    assert 0 < low <= min(values) * (1 + 1e-9)
    assert high >= max(values) * (1 - 1e-9)
    assert all(y > 0 for y, _ in ticks)


def test_an_axis_stands_still_while_values_stay_near() -> None:
    assert y_axis([3.312, 3.418], 3)[:2] == y_axis([3.314, 3.412], 3)[:2]


def test_all_lines_together_stay_within_what_is_quick_to_draw() -> None:
    assert columns_for(4, 300) * 2 * 4 <= POINTS_AT_MOST
    assert columns_for(1, 90) == 90


def test_a_mark_on_a_shared_axis() -> None:
    assert on_axis(0.0, 15, limit=0.25, mark=0.1) == "    ┊  ◆  ┊    "
    assert on_axis(0.05, 15, limit=0.25, mark=0.1, error=0.06)[6:12].count("◆") == 1
    assert on_axis(9.0, 15, limit=0.25, mark=0.1).endswith("▶")
    assert on_axis(None, 15, limit=0.25, mark=0.1) == "    ┊  │  ┊    "


def test_repaints_slow_down_while_the_terminal_cannot_keep_up_and_recover_after() -> None:
    pace = Pace(0.5)
    now, painted = 0.0, 0
    for _ in range(1000):
        now += 0.1
        painted += pace.due(now, backlog=9)
    assert painted == 0
    assert pace.interval == SLOWEST
    for _ in range(1000):
        now += 0.1
        painted += pace.due(now)
    assert pace.interval == 0.5
    assert painted > 100
