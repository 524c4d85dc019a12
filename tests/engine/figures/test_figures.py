"""Line figures: valid SVG, points where the axes say they are, gaps where there is no value."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_tui_engine.figures.bars import Bar, bars_svg
from interp_tui_engine.figures.lines import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, Level, lines_svg, ticks


def test_the_extremes_lie_on_the_axes_and_a_gap_lifts_the_pen() -> None:
    svg = lines_svg("t", "x", "y", [Curve("a", [0, 1, 2, 3], [0.0, None, float("nan"), 10.0])])
    (path,) = re.findall(r'<path d="([ML][^"]*)" stroke="#0072b2" stroke-width="1.4"', svg)
    points = re.findall(r"([ML])([\d.]+) ([\d.]+)", path)
    assert [p[0] for p in points] == ["M", "M"]
    assert float(points[0][1]) == LEFT and float(points[1][1]) == WIDTH - RIGHT
    margin = 0.05 / 1.1 * (HEIGHT - TOP - BOTTOM)
    assert float(points[0][2]) == pytest.approx(HEIGHT - BOTTOM - margin, abs=0.06)
    assert float(points[1][2]) == pytest.approx(TOP + margin, abs=0.06)


def test_text_is_escaped_and_the_document_is_well_formed() -> None:
    svg = lines_svg("<b>&", "x", "y", [Curve("[/b]<script>", [0], [1.0])], [Level("w₀", 2.0)])
    ElementTree.fromstring(svg)
    assert "<script>" not in svg


def test_no_data_is_still_a_figure() -> None:
    ElementTree.fromstring(lines_svg("empty", "x", "y", []))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 7
    slack = 1e-6 * max(1.0, abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in found)


def test_bars_begin_at_zero_and_estimates_stand_on_the_same_axis() -> None:
    svg = bars_svg("<t>", "share", [Bar("L0H1", 0.5, -0.5), Bar("a & b", -0.5)])
    ElementTree.fromstring(svg)
    (right, left) = re.findall(r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)"', svg)
    assert float(left[0]) + float(left[1]) == pytest.approx(float(right[0]), abs=0.11)
    assert float(re.findall(r'<circle cx="([\d.]+)"', svg)[0]) == float(left[0])
    assert "rings" in svg and "rings" not in bars_svg("t", "share", [Bar("x", 1.0)])
    ElementTree.fromstring(bars_svg("none", "share", []))
