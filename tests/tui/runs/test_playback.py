"""A run's history: any moment of its log is what the events before it say, whichever way one came to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_run import sampling
from on_screen import look, ready
from recovery_runs import batches, run

from interp_tui.app import InterpApp
from interp_tui.runs import playback
from interp_tui.runs.playback import STEPS, Playback
from interp_tui.runs.runstate import RunState
from interp_tui.screens.run import RunScreen
from interp_tui.widgets.heatmap import Heatmap
from interp_tui_engine.events import Metrics, Progress, RunStarted, Stamped, from_line, to_line
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]


def counted(make_run: MakeRun, count: int = 400) -> RunFolder:
    """A run that told of its progress, and of one case at each step."""
    events: list[Any] = [RunStarted("llc", "tiny", "cpu")]
    for step in range(count):
        events += [Progress(step, count, "steps"), Metrics("case", step, {"value": step, "text": "é" * (step % 7)})]
    return make_run("counted", state="running", events=events)


def state_before(folder: RunFolder, offset: int) -> RunState:
    """The slow way: every line before a byte, one after another."""
    state = RunState()
    state.apply_all(from_line(line) for line in folder.events_path.read_bytes()[:offset].splitlines())
    return state


@pytest.mark.parametrize("block", [64, 1000, 1 << 18])
def test_a_moment_is_what_the_events_before_it_say(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(playback, "BLOCK", block)
    folder = counted(make_run)
    history, offset, seen = Playback(folder), None, []
    for by in (-1, -1, -7, -20, 1, 3, -60, 1, 1, 70):
        moment = history.step(offset, by)
        assert folder.events_path.read_bytes()[: moment.offset].endswith(b"\n") or moment.offset == 0
        slow = state_before(folder, moment.offset)
        assert (moment.state.cases, moment.state.done) == (slow.cases, slow.done)
        offset = moment.offset
        seen.append((round(moment.share, 2), moment.last))
    assert seen[0][0] == pytest.approx(1 - 1 / STEPS, abs=0.01) and seen[6] == (0.0, False) and seen[-1] == (1.0, True)


def test_short_logs_are_stepped_through_event_by_event(make_run: MakeRun) -> None:
    folder = counted(make_run, 2)
    history, places, offset = Playback(folder), [], None
    for _ in range(6):
        moment = history.step(offset, -1)
        offset = moment.offset
        places.append(moment.state.version)
    assert places == [4, 3, 2, 1, 0, 0]
    for _ in range(5):
        moment = history.step(offset, 1)
        offset = moment.offset
    assert moment.last and moment.state.version == 5


def test_a_moment_does_not_change_under_who_looks_at_it(make_run: MakeRun) -> None:
    folder = counted(make_run)
    history = Playback(folder)
    early = history.step(None, -40)
    cases = dict(early.state.cases)
    history.step(early.offset, 30)
    assert early.state.cases == cases


def test_a_line_that_is_still_written_and_a_log_that_is_gone(make_run: MakeRun) -> None:
    folder = counted(make_run, 3)
    with folder.events_path.open("a") as file:
        file.write('{"v":1,"seq":')
    moment = Playback(folder).step(None, 1)
    assert moment.last and moment.state.version == 7
    folder.events_path.unlink()
    assert Playback(folder).step(None, -1).state.version == 0


async def test_keys_go_back_and_forth_and_live_again(make_run: MakeRun, runs_root: Path) -> None:
    folder = make_run("tiny", state="running")
    lines = [to_line(Stamped(seq, float(seq), event)) for seq, event in enumerate(sampling(120), 1)]
    folder.events_path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    app = InterpApp(runs_root, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        live = await look(pilot)
        back = await then(pilot, "comma")
        assert "history 98 %" in back and ", back  . on  > live" in back
        start = await then(pilot, "less_than_sign")
        assert "history 0 %" in start and "draw 120/" not in start
        assert "history 2 %" in await then(pilot, "full_stop")
        assert await then(pilot, "greater_than_sign") == live
        await then(pilot, "comma")
        assert await then(pilot, "full_stop") == live, "after the last event it is live"
        await then(pilot, "comma")
        assert await then(pilot, "escape") == live and isinstance(app.screen, RunScreen)


async def test_what_came_later_is_not_shown_of_an_earlier_moment(make_run: MakeRun) -> None:
    folder = run(make_run, batches())
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        await look(pilot, "down", "down")
        grid = app.screen.query_one(Heatmap)
        assert grid.value is not None and (grid.row, grid.column) == (2, 3)
        await then(pilot, "comma", "comma", "comma", "comma")
        assert "attn_out" in await look(pilot) and app.screen.query_one(Heatmap).value is not None
        text = await then(pilot, "comma", "less_than_sign", "full_stop")
        assert "L2" not in text and "running" not in text
        await then(pilot, "full_stop", "full_stop", "full_stop")
        moved = app.screen.query_one(Heatmap)
        assert moved is not grid and moved.value is not None


async def then(pilot: Any, *keys: str) -> str:
    """What shows once the history has been read for these keys."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause(0)
        while any(not worker.is_finished for worker in pilot.app.workers if worker.group == "history"):
            await asyncio.sleep(0.01)
        await pilot.pause(0)
        await ready(pilot)
    return await look(pilot)
