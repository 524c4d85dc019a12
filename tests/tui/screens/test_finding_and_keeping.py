"""Finding things: kinds by typing, filters by recall, parts of a screen by a letter. Keeping things: marks, tags, notes, archived runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import on_screen
import pytest
from textual.widgets import Input, Static, TabbedContent

from interp_tui.app import InterpApp
from interp_tui.runs import labels
from interp_tui.runs.filters import Predicate, compile_filter
from interp_tui.runs.labels import Labels
from interp_tui.screens.compare import CompareScreen
from interp_tui.screens.confirm import ConfirmScreen
from interp_tui.screens.jump import JumpScreen
from interp_tui.screens.label import LabelScreen
from interp_tui.screens.new_run import USED, grouped
from interp_tui.terminal import config
from interp_tui.views.overlay import Overlay
from interp_tui.widgets.filter_line import FilterLine
from interp_tui.widgets.kind_list import KindList, best, matching
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.events import Metrics, RunFinished, RunStarted
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
GROUPS = {
    "Learning theory": [("llc", "How degenerate is the loss?"), ("bif", "Which text moves with which?")],
    "Features": [("train_sae", "Which sparse features are there?"), ("match", "Which features of two runs are the same?")],
}


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(6000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


def test_kinds_are_found_by_name_then_by_question() -> None:
    assert best(GROUPS, "sae") == "train_sae" and best(GROUPS, "text") == "bif" and best(GROUPS, "zzz") is None
    assert best(GROUPS, "ma") == "match", "what begins so comes before what holds it"
    assert matching(GROUPS, "features") == {"Features": GROUPS["Features"]} and matching(GROUPS, "") == GROUPS


@dataclass(frozen=True)
class AKind:
    name: str
    group: str
    question: str = "?"


def test_kinds_used_most_come_first_and_stand_once() -> None:
    kinds: Any = [AKind("llc", "Learning theory"), AKind("bif", "Learning theory"), AKind("probe", "Features")]
    found = grouped(kinds, {"probe": 5, "bif": 2, "sweep": 9})
    assert [name for name, _ in found[USED]] == ["probe", "bif"]
    assert [name for group in found.values() for name, _ in group] == ["probe", "bif", "llc"]
    assert USED not in grouped(kinds, {})


async def test_letters_in_the_list_of_kinds_find_one(runs_root: Path, settle: Any) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.press("n")
        await settle(pilot)
        kinds = app.screen.query_one(KindList)
        assert kinds.check_consume_key("q", "q") and kinds.check_consume_key("d", "d"), "q would quit the app, and d try the run"
        await pilot.press(*"tra")
        await until(lambda: kinds.typed == "tra")
        assert kinds.highlighted_option is not None and kinds.highlighted_option.id == "train_sae"
        await pilot.press("backspace")
        await until(lambda: kinds.typed == "tr")
        await pilot.press("escape")
        await until(lambda: kinds.typed == "" and kinds.option_count > 20)


async def test_a_kind_that_typed_letters_hide_is_gone_to_all_the_same(runs_root: Path, settle: Any) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.press("n")
        await settle(pilot)
        await pilot.press(*"tra")
        kinds = app.screen.query_one(KindList)
        await until(lambda: kinds.typed == "tra")
        kinds.go_to("nothing")
        assert kinds.typed == "tra", "what is no kind moves nothing"
        kinds.go_to("llc")
        await until(lambda: kinds.typed == "")
        assert kinds.highlighted_option is not None and kinds.highlighted_option.id == "llc"


async def test_a_filter_used_before_comes_back(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    make_run("a"), make_run("b", kind="probe")
    config.remember_theme("light")
    config.remember_filter("kind = llc")
    app = InterpApp(runs_root)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await pilot.press("slash")
        line = app.screen.query_one(FilterLine)
        await until(lambda: isinstance(app.focused, Input))
        await pilot.press("up")
        await until(lambda: len(app.screen.query_one(ListTable).rows) == 1)
        line.query_one(Input).value = "probe"
        await until(lambda: app.screen.query_one(ListTable).rows[0].cells[1].text == "probe")
        await pilot.press("enter")
        assert line.query_one(Input).value == "probe"
        await until(lambda: tuple(app.filters) == ("probe", "kind = llc"))
    kept = json.loads(Path("config/state.json").read_text())
    assert kept == {"theme": "light", "filters": ["probe", "kind = llc"]}


async def test_a_filter_is_kept_under_a_name_and_forgotten(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    make_run("a"), make_run("b", state="failed"), make_run("c", state="crashed")
    app = InterpApp(runs_root)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await pilot.press("slash")
        line = app.screen.query_one(FilterLine)
        box, said, table = line.query_one(Input), line.query_one(".said", Static), app.screen.query_one(ListTable)
        await until(lambda: "@name = … keeps one" in str(said.content))
        box.value = "@bad = failed | crashed"
        await until(lambda: len(table.rows) == 2 and "⏎ keeps it as @bad" in str(said.content))
        await pilot.press("enter")
        await until(lambda: box.value == "@bad" and app.named_filters == {"bad": "failed | crashed"})
        await until(lambda: "@bad: failed | crashed" in str(said.content) and len(table.rows) == 2)
        await pilot.press("escape", "slash")
        await until(lambda: "kept: @bad" in str(said.content) and len(table.rows) == 3)
        assert config.load().named_filters == {"bad": "failed | crashed"}
        box.value = "@bad ="
        await until(lambda: "⏎ forgets @bad: failed | crashed" in str(said.content))
        await pilot.press("enter")
        await until(lambda: not line.display and not app.named_filters and len(table.rows) == 3)


async def test_keys_typed_fast_are_one_look_through_the_runs(
    make_run: MakeRun, runs_root: Path, settle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("a"), make_run("b", kind="probe")
    filters: list[str] = []

    def noted(text: str, numbers: Any = None, kept: Any = None) -> Predicate:
        filters.append(text)
        return compile_filter(text, numbers, kept)

    monkeypatch.setattr("interp_tui.screens.runs.compile_filter", noted)
    app = InterpApp(runs_root)
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        filters.clear()
        line = app.screen.query_one(FilterLine)
        for length in range(1, 6):  # all in the queue before the first is looked at
            line.post_message(FilterLine.Changed("probe"[:length]))
        await until(lambda: [row.cells[1].text for row in app.screen.query_one(ListTable).rows] == ["probe"])
    assert filters[-1] == "probe" and len(filters) < 5


async def test_a_letter_goes_to_a_part_or_a_tab(make_run: MakeRun, settle: Any) -> None:
    folder = make_run("a")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await on_screen.ready(pilot)
        await pilot.press("semicolon")
        await until(lambda: isinstance(app.screen, JumpScreen))
        jump = app.screen
        assert isinstance(jump, JumpScreen)
        log = next(target for target in jump.found if (target.widget.id or "").endswith("log"))
        await pilot.press(log.letter)
        await until(lambda: not isinstance(app.screen, JumpScreen) and app.screen.query_one(TabbedContent).active == "log")


async def test_tags_notes_and_archived_runs(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    first, second = make_run("first", age=10.0), make_run("second", age=20.0)
    app = InterpApp(runs_root)
    async with app.run_test(size=(120, 30)) as pilot:
        await settle(pilot)
        await pilot.press("number_sign")
        await until(lambda: isinstance(app.screen, LabelScreen))
        app.screen.query_one("#label-tags", Input).value = "paper"
        app.screen.query_one("#label-note", Input).value = "fig 2"
        await pilot.press("enter")
        await until(lambda: labels.read(first) == Labels(("paper",), "fig 2"))
        await settle(pilot)
        table = app.screen.query_one(ListTable)
        assert "first #paper" in table.rows[0].cells[2].text
        await pilot.press("a")
        await until(lambda: [row.key for row in table.rows] == [second.path.name])
        await pilot.press("slash")
        app.screen.query_one(FilterLine).query_one(Input).value = "archived = yes"
        await until(lambda: [row.key for row in table.rows] == [first.path.name])


async def test_marked_runs_are_compared_and_deleted_together(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    estimates = [Metrics("estimate", step, {"llc_mean": 30.0 + step, "llc_std_error": 1.0}) for step in range(1, 9)]
    events = [RunStarted("llc", "x", device="cpu"), *estimates, RunFinished("done", 1.0, {})]
    made = [make_run(name, age=10.0 * at, events=events, headline={"llc_mean": 30.0 + at}) for at, name in enumerate("abc", 1)]
    app = InterpApp(runs_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("m", "down", "m", "down", "c")
        await until(lambda: isinstance(app.screen, CompareScreen) and any(part.figure for part in app.screen.query(Overlay)))
        overlay = app.screen.query_one(Overlay)
        assert [run.name for run in overlay.runs] == ["b", "a", "c"], "the marked, oldest first, then the one under the cursor"
        await pilot.press("right", "2")
        await until(lambda: overlay.cursor is not None and overlay.bright == 1)
        assert "± 1.0" in overlay.copied() and "at 1" in overlay.copied()
        await pilot.press("escape", "home", "m", "end", "m", "d")
        await until(lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(lambda: not made[0].path.exists() and not made[2].path.exists())
        assert made[1].path.exists()
