"""The view of a pipeline: its steps, what they found, and the way into a step."""

from __future__ import annotations

from typing import Any

import pytest
from on_screen import app_on, child_run, press, ready, showing, shown

from interp_tui_engine.events import Metrics, Phase, Progress, RunStarted
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision.pipeline_findings import findings

pytestmark = pytest.mark.usefixtures("settle")

STEPS = [("train", "train_sae"), ("records", "records"), ("screen", "inspect"), ("interventions", "interventions"), ("match", "match")]


def step(index: int, state: str, **more: Any) -> Metrics:
    name, kind = STEPS[index]
    values = {"index": index, "id": name, "kind": kind, "state": state, "folder": f"steps/{name}", "headline": {}, "fraction": 0.0}
    return Metrics("case", index, values | {"seconds": None, "reused": "", "reason": ""} | more)


def running(make_run: Any) -> RunFolder:
    events = [
        RunStarted("pipeline", "capitals"),
        step(0, "done", seconds=17.2, headline={"fvu": 0.134, "l0": 8.0, "dead_fraction": 0.0}),
        step(1, "done", seconds=6.0, headline={"rows": 396, "features": 512}, reused="earlier/steps/records"),
        step(2, "running", seconds=2.0, fraction=0.4),
        step(3, "queued"),
        step(4, "queued"),
        Phase("step screen", "inspect"),
        Progress(2.4, 5, "steps"),
    ]
    return make_run("capitals", kind="pipeline", state="running", events=events, done=2.4, total=5, unit="steps", eta=40.0)


def finished(make_run: Any) -> RunFolder:
    controls = {"matched_norm": {"mean": 0.9, "low": 0.7, "high": 1.1}, "random": {"mean": 0.02, "low": -0.05, "high": 0.09}}
    effect = {"feature_id": "SAE:L2:F26", "verb": "ablate", "effect": 4.19, "low": 3.51, "high": 4.86, "q": 3e-11, "rows": 24}
    effect |= {"side_effect": 0.06, "control": 0.49, "control_low": 0.36, "control_high": 0.61, "controls": controls, "clear": True}
    card = {"feature_id": "SAE:L2:F26", "auroc": 0.9997, "auroc_low": 0.966, "auroc_high": 1.0, "clear": True}
    found = findings(
        [
            ("interventions", "interventions", {"effects": [effect], "metric": "log_odds"}),
            ("inspect", "inspect", {"cards": [card], "criterion": "the next token is a capital city [/b]"}),
        ]
    )
    events = [RunStarted("pipeline", "capitals")]
    events += [step(index, "done", seconds=5.0 + index, headline={"rows": 396}) for index in range(4)]
    events.append(step(4, "failed", seconds=1.0, reason="the report holds [red]no cards"))
    events += [Metrics("found", 0, {**found.values, "sentences": found.sentences}), Progress(4, 5, "steps")]
    return make_run("capitals", kind="pipeline", state="failed", events=events, done=4, total=5, unit="steps")


@pytest.mark.parametrize(
    ("make", "size"), [(running, (80, 24)), (finished, (80, 24)), (finished, (140, 40))], ids=["live", "small", "wide"]
)
def test_looks(make, size, make_run, snap_compare):
    assert snap_compare(app_on(make(make_run)), terminal_size=size, run_before=ready)


async def test_enter_opens_a_step_that_has_begun_and_no_other_place(make_run):
    folder = running(make_run)
    inner = child_run(make_run, folder, "steps/train")
    app = app_on(folder)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        assert "2/5 done" in shown(screen) and "✓ reused" in shown(screen)
        await press(pilot, "down", "enter")
        assert app.screen is screen, "it is done, and its folder was taken away"
        await press(pilot, "down", "down", "enter")
        assert app.screen is screen
        messages = [note.message for note in app._notifications]
        assert messages == ["the folder of step records is not here any more", "step interventions has not begun"]
        await press(pilot, "up", "up")
        await press(pilot, "up", "enter")
        await showing(pilot, inner)


async def test_a_step_elsewhere_is_never_opened(make_run):
    folder = make_run("odd", kind="pipeline", events=[step(0, "done", id="../../elsewhere")])
    app = app_on(folder)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        await press(pilot, "enter")
        assert app.screen is screen
