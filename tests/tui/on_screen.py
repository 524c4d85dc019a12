"""A run's screen as a test sees it: once it shows all there is, after some keys, as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from interp_tui.app import InterpApp
from interp_tui.screens.run import RunScreen
from interp_tui_engine.runfolder import RunFolder


def shown(screen: Screen[Any]) -> str:
    """Everything on the screen, as text."""
    return "\n".join("".join(segment.text for segment in strip) for strip in screen._compositor.render_strips())


def app_on(folder: RunFolder) -> InterpApp:
    """The app, opened on a run."""
    return InterpApp(folder.path.parent, folder.path)


def child_run(make_run: Callable[..., RunFolder], parent: RunFolder, place: str) -> RunFolder:
    """A run that another one made, in its place in that one's folder."""
    made = make_run("inner", folder_name="inner")
    (parent.path / place).parent.mkdir(exist_ok=True)
    return RunFolder(made.path.rename(parent.path / place))


async def showing(pilot: Any, folder: RunFolder) -> None:
    """Wait until the screen of this run shows."""
    for _ in range(200):
        if isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.folder.path == folder.path:
            return
        await pilot.pause(0.02)
    raise AssertionError(f"{pilot.app.screen} shows, not the run {folder.path.name}")


async def ready(pilot: Any) -> RunScreen:
    """The run screen, once it shows all there is and has been drawn alike three times running."""
    for _ in range(2000):
        if isinstance(pilot.app.screen, RunScreen):
            break
        await asyncio.sleep(0.01)
    screen = pilot.app.screen
    assert isinstance(screen, RunScreen)
    seen: list[str] = []
    for _ in range(100):  # what is drawn may ask for a new layout, and that for new drawing
        await screen.settle()
        await pilot.pause(0)
        seen.append(shown(screen))
        if len(seen) > 3 and len(set(seen[-3:])) == 1 and not screen._layout_required:
            break
    return screen


async def press(pilot: Any, *keys: str) -> None:
    """Press keys, each when the one before has had its effect."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause(0)
        if isinstance(pilot.app.screen, RunScreen):
            await ready(pilot)


async def look(pilot: Any, *keys: str) -> str:
    """What the run's screen shows after these keys."""
    screen = await ready(pilot)
    await press(pilot, *keys)
    return shown(screen)
