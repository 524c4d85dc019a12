"""The recovery grid: fills batch by batch, goes down to heads and back, steps through pairs, and shows hostile tokens as text."""

from __future__ import annotations

from typing import Any

import pytest
from on_screen import look
from recovery_runs import LAST, batches, run

from interp_tui.app import InterpApp
from interp_tui.views.recovery_beside import SideGrid, fitting
from interp_tui.views.recovery_cells import Recovered
from interp_tui.views.recovery_result import strip
from interp_tui.widgets.heatmap import Heatmap

SIZES = [(80, 24), (140, 40)]


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
def test_look(make_run, snap_compare, size):
    folder = run(make_run, batches())

    async def ready(pilot: Any) -> None:
        await look(pilot, "down", "down")

    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=size, run_before=ready)


def test_look_of_a_layers_heads(make_run, snap_compare):
    folder = run(make_run, batches(), "running")

    async def ready(pilot: Any) -> None:
        await look(pilot, "down", "enter", "g")

    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=(80, 24), run_before=ready)


async def test_sites_heads_and_back_keep_the_cursor(make_run):
    folder = run(make_run, batches())
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down", "down")
        assert "L2 · France" in text and "‹resid_post›" in text
        text = await look(pilot, "enter")
        assert "heads of layer 2" in text and "L2H0 · France" in text
        text = await look(pilot, "enter")
        assert "L2 · France" in text and app.screen.query_one(Heatmap).row == 2
        assert "‹attn_out›" in await look(pilot, "s")
        text = await look(pilot, "s")
        assert "‹heads›" in text and "heads at ‘France’" in text and "H2" in text


async def test_other_sites_stand_beside_and_heads_below_where_there_is_room(make_run):
    folder = run(make_run, batches())
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down", "down")
        (beside,) = [grid for grid in app.screen.query(SideGrid) if grid.display]
        heatmap = app.screen.query_one(Heatmap)
        assert (beside.row, beside.column) == (heatmap.row, heatmap.column) == (2, 3)
        assert beside.value == pytest.approx(0.49) and heatmap.value == pytest.approx(0.98)
        assert heatmap.row_height == 3 and text.count("attn_out") == 2
        assert "L0H0      0.327  at France" in text and "top heads" in text
        text = await look(pilot, "s")
        assert beside.corner == "resid_post" and beside.value == pytest.approx(0.98) and heatmap.value == pytest.approx(0.49)
        await look(pilot, "enter")
        assert not beside.display
    assert fitting(94, 10, 5, 4) == 1 and fitting(40, 10, 5, 4) == 0 and fitting(300, 10, 5, 4) == 3


async def test_pairs_are_stepped_through_from_their_mean(make_run):
    folder = run(make_run, batches(pairs=2))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        assert "mean of 2 pairs" in await look(pilot)
        first = await look(pilot, "n")
        assert "pair 1 of 2" in first and "0.980" in first
        assert "0.990" in await look(pilot, "n")
        assert "mean of 2 pairs" in await look(pilot, "n")


async def test_tokens_cannot_steer_the_terminal(make_run):
    hostile = ["The", "[/b]", "\x1b]52;c;aGk=\x07", "[red]France", "\u202eis"]
    folder = run(make_run, batches(tokens=hostile))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot)
        assert "[/b]" in text and "[red]France" in text and "\x1b" not in text and "\u202e" not in text


@pytest.mark.parametrize("batch", [{}, {"pair": "x"}, {"pair": 0, "cells": 3}, {"pair": 0, "cells": [[0, 0]], "recovery": [None, "x"]}])
def test_malformed_batches_are_left_out(batch):
    found = Recovered()
    found.read({0: batch, **dict(enumerate(batches(), 1))})
    assert found.value(0, (0, 5, LAST, 0)) == 0.98
    assert found.value(0, (0, 5, 0, 0)) == 0.0 and found.value(0, (0, 99, LAST, 0)) is None


def test_a_mean_weighs_pairs_by_their_effect():
    found = Recovered()
    told = batches(pairs=2)
    for batch in told[3:]:
        batch["clean_metric"] = -9.35 + 2 * 18.42
    found.read(dict(enumerate(told)))
    assert found.mean((0, 5, LAST, 0)) == pytest.approx((0.98 * 1 + 0.99 * 2) / 3)


@pytest.mark.parametrize("value, text", [(0.0, "●───"), (1.0, "───●"), (1.5, "───▶"), (-0.4, "◀───")])
def test_strip(value, text):
    assert strip(value, 4, ascii=False) == text
