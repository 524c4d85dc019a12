"""The view of a development: its stages in one figure, then each number by itself."""

from __future__ import annotations

from typing import Any

import pytest
from on_screen import press, ready, shown

from interp_tui.app import InterpApp
from interp_tui_engine.events import Metrics, Progress, RunStarted

pytestmark = pytest.mark.usefixtures("settle")


async def test_all_numbers_stand_in_one_figure_each_over_its_own_range(make_run: Any) -> None:
    stages = {"step-0": (-3572.0, 8.19, 0.0), "step-100": (-433.0, 6.49, 0.3), "final": (1244.0, 3.52, 1.0)}
    events = [RunStarted("development", "stages", "cpu"), Progress(3, 3, "checkpoints")]
    for index, (revision, (llc, loss, facts)) in enumerate(stages.items()):
        found = {"llc_mean": llc, "llc_std_error": 80.0, "init_loss": loss, "rhat": 1.0, "fact_accuracy": facts}
        events.append(Metrics("case", index, {"values": {"revision": revision}, "state": "done", "headline": found}))
    folder = make_run("stages", kind="development", state="done", events=events, done=3, total=3, unit="checkpoints")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(100, 30)) as pilot:
        screen: Any = await ready(pilot)
        view = screen._view
        assert "llc_mean  init_loss  fact_accuracy" in shown(screen), "no error and no diagnostic among them"
        lines = [view._line(at, name, "revision", own_range=True) for at, name in enumerate(view._staged)]
        assert [[round(y, 3) for _, y in line.points] for line in lines] == [[0, 0.652, 1], [1, 0.636, 0], [0, 0.3, 1]]
        assert len({line.colour for line in lines}) == 3
        bars = view._bars(0, "llc_mean", "revision", own_range=True)
        assert [[round(y, 3) for _, y in bar.points] for bar in bars] == [[-0.017, 0.017], [0.635, 0.668], [0.983, 1.017]]
        assert view._bars(1, "init_loss", "revision", own_range=True) == [], "it has no error"
        assert all(name in shown(screen) for name in stages), "each checkpoint is named below its points"
        await press(pilot, "m")
        assert "llc_mean over revision" in shown(screen) and "init_loss" not in shown(screen).split("point")[0]
        assert view._line(0, "llc_mean", "revision", own_range=False).points[0] == (0.0, -3572.0)
