"""Traces: bounded, exact while they fit, and right about extremes and means when they do not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_tui.runs.traces import CAPACITY, MAX_DRAW, DrawSeries

values = st.floats(-1e6, 1e6)


def traced(losses: list[float], *, start: int = 0, into: DrawSeries | None = None) -> DrawSeries:
    trace = into or DrawSeries()
    for draw, loss in enumerate(losses, start):
        trace.add(draw, loss)
    return trace


def test_every_draw_is_kept_while_there_is_room() -> None:
    losses = [math.sin(i) for i in range(CAPACITY)]
    assert traced(losses).means(0, CAPACITY, CAPACITY) == [*enumerate(losses)]


@given(st.lists(values, min_size=1, max_size=5000))
@settings(max_examples=30, deadline=None)
def test_memory_is_bounded_and_extremes_survive(losses: list[float]) -> None:
    trace = traced(losses)
    assert len(trace) <= CAPACITY
    points = trace.extremes(0, len(losses), 80)
    assert len(points) <= 160
    assert points == sorted(points, key=lambda point: point[0])
    assert min(y for _, y in points) == min(losses)
    assert max(y for _, y in points) == max(losses)
    assert all(losses[x] == y for x, y in points)


@given(st.lists(values, min_size=1, max_size=4000))
@settings(max_examples=30, deadline=None)
def test_moments_are_those_of_the_draws(losses: list[float]) -> None:
    moments = traced(losses).moments(0, len(losses))
    assert moments.count == len(losses)
    scale = max(map(abs, losses)) or 1.0
    assert moments.mean == pytest.approx(math.fsum(losses) / len(losses), abs=1e-9 * scale)


@given(st.lists(values, min_size=1, max_size=3000), st.data())
@settings(max_examples=40, deadline=None)
def test_replayed_draws_replace_themselves(losses: list[float], data: st.DataObject) -> None:
    back = data.draw(st.integers(0, len(losses) - 1))
    upto = data.draw(st.integers(back, len(losses)))
    once = traced(losses)
    again = traced(losses[back:], start=back, into=traced(losses[:upto]))
    assert again.extremes(0, len(losses), 50) == once.extremes(0, len(losses), 50)
    assert again.moments(0, len(losses)).count == len(losses)
    assert again.last == once.last


def test_a_replay_with_other_values_overwrites_draw_by_draw() -> None:
    trace = traced([1.0, 2.0, 3.0, 4.0])
    traced([9.0, 8.0], start=2, into=trace)
    assert trace.means(0, 4, 4) == [(0, 1.0), (1, 2.0), (2, 9.0), (3, 8.0)]


def test_absurd_draws_and_values_are_passed_over() -> None:
    trace = traced([1.0])
    for draw, value in ((-1, 1.0), (MAX_DRAW, 1.0), (1, math.nan), (1, math.inf)):
        trace.add(draw, value)
    assert len(trace) == 1
    trace.add(MAX_DRAW - 1, 5.0)
    assert trace.last == MAX_DRAW - 1
    assert len(trace) <= CAPACITY


def test_an_empty_trace_answers() -> None:
    trace = DrawSeries()
    assert (trace.last, trace.at(0), trace.extremes(0, 10, 5), trace.means(0, 10, 5)) == (-1, None, [], [])
    assert trace.moments(0, 10).count == 0
