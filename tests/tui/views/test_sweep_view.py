"""The view of a sweep: a curve over one axis, a map over two, and the runs behind them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from on_screen import app_on, child_run, press, ready, showing, shown
from textual.widgets import TabbedContent

from interp_tui_engine.events import Metrics, Progress, RunStarted
from interp_tui_engine.runfolder import RunFolder

pytestmark = pytest.mark.usefixtures("settle")


def case(index: int, values: dict[str, Any], llc: float | None, state: str = "done", reason: str = "") -> Metrics:
    headline = {} if llc is None else {"llc_mean": llc, "llc_std_error": 0.4, "rhat": 1.01}
    folder = f"points/{index:03d}"
    return Metrics(
        "case", index, {"index": index, "values": values, "state": state, "folder": folder, "headline": headline, "reason": reason}
    )


def grid(make_run: Any) -> RunFolder:
    events = [RunStarted("sweep", "grid", "cpu"), Progress(5, 6, "points", 12.0)]
    revisions = ["step-0", "step-100", "final"]
    for index in range(5):
        values = {"params.lr": [1e-5, 1e-4][index // 3], "model.revision": revisions[index % 3]}
        failed = index == 4
        events.append(
            case(index, values, None if failed else 4.0 * index - 2, "failed" if failed else "done", "every chain [/b] failed" * failed)
        )
    return make_run("grid", kind="sweep", state="running", events=events, done=5, total=6, unit="points")


def curve(make_run: Any) -> RunFolder:
    events = [RunStarted("sweep", "stages", "cpu"), Progress(3, 3, "points")]
    events += [case(i, {"model.revision": r}, llc) for i, (r, llc) in enumerate({"step-0": 1.5, "step-100": 9.0, "final": 32.7}.items())]
    return make_run("stages", kind="sweep", state="done", events=events, done=3, total=3, unit="points")


@pytest.mark.parametrize(("make", "size"), [(grid, (140, 40)), (curve, (80, 24))], ids=["grid", "curve"])
def test_looks(make, size, make_run, snap_compare):
    assert snap_compare(app_on(make(make_run)), terminal_size=size, run_before=ready)


async def test_a_key_changes_the_number_and_enter_opens_the_run(make_run):
    folder = grid(make_run)
    inner = child_run(make_run, folder, "points/000")
    app = app_on(folder)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        assert "llc_mean over lr and revision" in shown(screen) and "1 failed" in shown(screen)
        assert "[/b]" in shown(screen), "a reason is text, not markup"
        await press(pilot, "m")
        assert "llc_std_error over" in shown(screen)
        await pilot.press("enter")
        await pilot.pause(0)
        await showing(pilot, inner)
        await pilot.press("escape")
        await pilot.pause(0)
        assert app.screen is screen


async def test_a_point_elsewhere_is_never_opened(make_run):
    event = case(0, {"params.lr": 1e-4}, 1.0)
    folder = make_run(
        "odd", kind="sweep", events=[Metrics("case", 0, json.loads(json.dumps(dict(event.values))) | {"folder": "../../etc"})]
    )
    app = app_on(folder)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        assert screen._view.results[0].folder == "points/000"


async def test_a_learning_coefficient_below_zero_is_doubted_in_the_table_and_the_result(make_run):
    """A sweep showed λ̂ −708 beside 1,321 without the verdict that a single run has."""
    events = [
        RunStarted("sweep", "stages", "cpu"),
        case(0, {"model.revision": "step-0"}, -708.0),
        case(1, {"model.revision": "final"}, 1321.0),
    ]
    points = [dict(event.values) for event in events[1:]]
    folder = make_run("stages", kind="sweep", state="done", events=events, result={"kind": "sweep", "points": points})
    app = app_on(folder)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await ready(pilot)
        for tab in ("live", "result"):
            screen.query_one(TabbedContent).active = tab
            await ready(pilot)
            below, above = (next(line for line in shown(screen).splitlines() if number in line) for number in ("-708", "1,321"))
            assert "no minimum" in below and "no minimum" not in above, tab
