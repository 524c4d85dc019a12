"""Every kind's Live and Result, in a small and a large terminal, drawn from a real run that is kept."""

from __future__ import annotations

from typing import Any

import on_screen
import pytest
import recorded_runs
from textual.widgets import TabbedContent

from interp_tui.widgets.heatmap import Heatmap
from interp_tui_engine import catalog

SIZES = ((80, 24), (140, 40))


def test_there_is_a_recording_of_every_kind_and_supervisor() -> None:
    assert {kind.name for kind in catalog.kinds()} | {"sweep"} <= set(recorded_runs.names())


@pytest.mark.parametrize("name", recorded_runs.names())
async def test_look(name: str, snapshot: Any, settle: Any, runs_root: Any) -> None:
    folder = recorded_runs.unpacked(name, runs_root)
    app = on_screen.app_on(folder)
    async with app.run_test(size=SIZES[0]) as pilot:
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            for tab in ("live", "result"):
                screen = await on_screen.ready(pilot)
                screen.query_one(TabbedContent).active = tab
                for heatmap in screen.query(Heatmap):
                    heatmap.set_look("digit")  # what a colour would tell
                screen = await on_screen.ready(pilot)
                lines = [line.rstrip() for line in on_screen.shown(screen).splitlines()][1:-1]  # neither the header nor the keys
                assert len(" ".join(lines).split()) > 30, "there is something on it"
                assert "\n".join(lines) == snapshot(name=f"{name} {tab} {width}x{height}")
