"""The Result tab's pane while nobody waits for it any more."""

from __future__ import annotations

import asyncio

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.widget import Widget

from interp_tui.widgets.panes import ResultPane


class Shown(App[None]):
    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"muted": "#7d8896", "rule": "#2c3643"}

    def compose(self) -> ComposeResult:
        yield ResultPane()


@pytest.mark.usefixtures("settle")
async def test_a_report_whose_drawing_is_cancelled_takes_no_part_of_the_screen_with_it() -> None:
    app = Shown()
    async with app.run_test(size=(80, 24)) as pilot:
        pane = app.query_one(ResultPane)
        for turns in range(1, 12):  # a screen may be left at any moment of it
            await pane.show(Text(""), Text(""), Text(""), "# before\n\ntext\n\n- one\n- two\n", wide=True)
            worker = app.run_worker(pane.show(Text(""), Text(""), Text(""), f"# after {turns}\n\nother\n\n1. one\n", wide=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            worker.cancel()
            await pilot.pause()
            ended = [node for node in app.screen.walk_children(Widget) if node._task is not None and node._task.cancelled()]
            assert not ended, f"cancelled after {turns} turns"
