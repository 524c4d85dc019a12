"""The views of susceptibilities and influence: how they look live and done, and what their keys read out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from on_screen import press, ready, shown
from posterior_runs import PARTS, influence, susceptibilities

from interp_tui.app import InterpApp
from interp_tui.views.bif import BifView
from interp_tui.views.susceptibilities import SusceptibilitiesView
from interp_tui.widgets.heatmap import Heatmap
from interp_tui.widgets.list_table import ListTable
from interp_tui.widgets.token_strip import TokenStrip
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
pytestmark = pytest.mark.usefixtures("settle")


@pytest.fixture
def picture(snap_compare: Any) -> Callable[..., bool]:
    def compare(folder: RunFolder, size: tuple[int, int], *keys: str, theme: str | None = None) -> bool:
        async def before(pilot: Any) -> None:
            await ready(pilot)
            if theme:
                pilot.app.theme = theme
            await press(pilot, *keys)
            await ready(pilot)

        return bool(snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=size, run_before=before))

    return compare


def test_parts_fill_in_while_others_are_sampled(make_run: MakeRun, picture: Any) -> None:
    assert picture(susceptibilities(make_run, done=False, parts=5), (80, 24), "down", "right")


def test_done_with_tokens_small(make_run: MakeRun, picture: Any) -> None:
    assert picture(susceptibilities(make_run), (80, 24), "right", "s")


def test_done_with_tokens_wide_in_ascii(make_run: MakeRun, picture: Any) -> None:
    assert picture(susceptibilities(make_run), (140, 40), "right", "down", "enter", "right", theme="ascii")


def test_the_matrix_small(make_run: MakeRun, picture: Any) -> None:
    assert picture(influence(make_run), (80, 24))


def test_what_moves_with_a_sequence_wide(make_run: MakeRun, picture: Any) -> None:
    assert picture(influence(make_run), (140, 40), "i", "down")


async def test_tokens_are_those_of_the_cell_and_say_their_numbers(make_run: MakeRun) -> None:
    folder = susceptibilities(make_run)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        view, strip, heat = screen.query_one(SusceptibilitiesView), screen.query_one(TokenStrip), screen.query_one(Heatmap)
        assert len(heat.grid.rows) == len(PARTS) and len(strip.tokens) == 13 and strip.tokens[0].value is None
        before = [token.value for token in strip.tokens]
        await press(pilot, "down", "right")
        assert [token.value for token in strip.tokens] != before
        await press(pilot, "n")
        assert view.row == 1
        await press(pilot, "s")
        top = view._tops(1)[0]
        assert strip.tokens[strip.index].value == pytest.approx(top.value) and view.row == top.row
        await press(pilot, "enter", "home")
        assert strip.has_focus and strip.index == 0
        assert not any("\x1b" in token.text for token in strip.tokens)
        assert view.quantities == ["covariance", "first_order", "shift", "mean"], "what the run is ranked by comes first"
        covariance = [token.value for token in strip.tokens[1:]]
        await press(pilot, "v")
        assert [token.value for token in strip.tokens[1:]] == pytest.approx([0.9 * value for value in covariance], rel=1e-5)
        await press(pilot, "v")
        shift = [token.value for token in strip.tokens[1:]]
        await press(pilot, "v")
        chi = [token.value for token in strip.tokens[1:]]
        assert chi == pytest.approx([a + b for a, b in zip(covariance, shift, strict=True)], rel=1e-4)


async def test_search_finds_a_sequence_and_lists_what_moves_with_it(make_run: MakeRun) -> None:
    folder = influence(make_run)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        view = screen.query_one(BifView)
        assert view.found is not None and view.pair == view.found.pairs(view.result)[0], "the cursor begins on the strongest pair"
        await press(pilot, "slash", *"CAPITAL of", "enter")
        assert 5 in view.hits and view.mode == "row" and view.pair[0] == view.hits[0]
        listed = screen.query_one("#list", ListTable).rows
        sizes = [abs(view.found.values[view.pair[0]][int(row.key.split(",")[1])] or 0.0) for row in listed]
        assert len(listed) == 23 and sizes == sorted(sizes, reverse=True)
        await press(pilot, "m", "n")
        assert view.mode == "matrix" and view.pair[0] == view.hits[1 % len(view.hits)]
        tokens = screen.query_one("#left", TokenStrip).tokens
        assert tokens[0].value is None and all(token.value is not None for token in tokens[1:])


async def test_any_token_of_a_pair_can_be_gone_to(make_run: MakeRun) -> None:
    folder = influence(make_run)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = await ready(pilot)
        view = screen.query_one(BifView)
        left, right = screen.query_one("#left", TokenStrip), screen.query_one("#right", TokenStrip)
        assert view.token_at() == tuple(token.uttered for token in left.tokens)
        assert any(token.uttered != token.text for token in left.tokens), "tokens are drawn sanitised"
        await press(pilot, "s", "s", "right", "right")
        assert right.has_focus and view.token_at() == tuple(token.uttered for token in right.tokens[:3])
        await press(pilot, "s")
        assert screen.query_one(Heatmap).has_focus


async def test_pairs_say_their_error_and_whether_they_are_clear_of_the_floor(make_run: MakeRun) -> None:
    folder = influence(make_run)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = await ready(pilot)
        view = screen.query_one(BifView)
        assert "9 of 276 pairs clear of the floor" in shown(screen)
        assert "± 0.011" in shown(screen) and "clear of the floor *" in shown(screen) and "first order" in shown(screen)
        await press(pilot, "b")
        rows = screen.query_one("#list", ListTable).rows
        marked = [row.cells[0].text.endswith("*") for row in rows]
        assert view.found is not None and view.found.clear is not None
        assert marked == [view.found.clear[one][two] for one, two in view.found.pairs(view.result)] and any(marked)
        assert all((row.cells[0].colour == "muted") != mark for row, mark in zip(rows, marked, strict=True))


async def test_whole_sequences_have_no_numbers_by_token(make_run: MakeRun) -> None:
    folder = influence(make_run, per_token=False)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        assert {token.value for token in screen.query_one("#left", TokenStrip).tokens} == {None}


@pytest.mark.parametrize("make", [susceptibilities, influence])
async def test_damaged_files_are_no_worse_than_missing_ones(make_run: MakeRun, make: Any) -> None:
    folder = make(make_run)
    (folder.path / "tokens.json").write_text("{", encoding="utf-8")
    for path in folder.path.rglob("zarr.json"):
        path.write_text("not json", encoding="utf-8")
    folder.result_path.write_text('{"top_pairs": 3, "observables": {"a": 1}, "rows": null}', encoding="utf-8")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await press(pilot, "down", "enter", "tab")
