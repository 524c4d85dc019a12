"""A screen as plain lines: what the app would show of a run, for pipes, logs and screen readers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.pilot import Pilot

TABS = ("live", "result", "manifest", "log")


def lines(run: Path, tab: str, size: tuple[int, int], *, ascii: bool) -> list[str]:
    """The run's screen at `tab`, `size` cells wide and high, without colours; what colour alone would tell is written as digits."""
    from textual.widgets import TabbedContent

    from ..app import InterpApp
    from ..screens.run import RunScreen
    from ..terminal.themes import ASCII, DEFAULT
    from ..widgets.heatmap import Heatmap

    app = InterpApp(run.parent, run)
    app.theme = ASCII if ascii else DEFAULT
    rendered: list[str] = []

    async def look(pilot: Pilot[Any]) -> None:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await screen.settle()  # the view takes the focus, and with it the tab, once it is there
        screen.query_one(TabbedContent).active = tab
        await pilot.pause()
        for heatmap in screen.query(Heatmap):
            heatmap.set_look("digit")
        await screen.settle()
        await pilot.pause()
        rendered.extend(strip.text.rstrip() for strip in screen._compositor.render_strips())
        app.exit()

    app.run(headless=True, size=size, auto_pilot=look)
    while rendered and not rendered[-1]:
        rendered.pop()
    return rendered[1:-1]  # neither the clock's line nor the keys'
