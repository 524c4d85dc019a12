"""The Figures screen: a run's curves and grids one at a time, pictures where they are drawn, and why they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import on_screen
import pytest
from textual.widgets import Static

from interp_tui.app import InterpApp
from interp_tui.screens import figures
from interp_tui.screens.figures import FiguresScreen
from interp_tui.screens.info import InfoScreen
from interp_tui.terminal import pictures
from interp_tui.terminal.pictures import Pictures
from interp_tui.widgets.heatmap import Heatmap
from interp_tui.widgets.trace import TracePlot
from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Metrics, RunFinished, RunStarted
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def traced(make_run: MakeRun) -> RunFolder:
    """A run with a curve over its steps, a grid in its result, and a file in figures/."""
    events = [RunStarted("causal_trace", "france", device="cpu")]
    events += [Metrics("training", at, {"score": 0.1 * at}) for at in range(6)]
    result = {"tokens": ["The", " capital"], "layers": [0, 1], "recovery": {"resid_post": [[0.0, 0.9], [0.1, 0.2]]}}
    folder = make_run("france", kind="causal_trace", events=[*events, RunFinished("done", 1.0, {})], result=result)
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "recovery.svg").write_text("<svg/>")
    return folder


async def opened(pilot: Any, settle: Any) -> FiguresScreen:
    await on_screen.ready(pilot)
    await pilot.press("F")
    for _ in range(600):
        screen = pilot.app.screen
        if isinstance(screen, FiguresScreen) and screen.loaded:
            await settle(pilot)
            return screen
        await asyncio.sleep(0.01)
    raise AssertionError(f"no figures, but {pilot.app.screen}")


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


async def test_curves_then_grids_one_at_a_time(traced: RunFolder, settle: Any) -> None:
    app = InterpApp(traced.path.parent, traced.path)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, settle)
        text = on_screen.shown(screen)
        assert "1 of 2" in text and "score" in text and screen.query_one(TracePlot).display
        assert 'pictures of figures/ are off: [pictures] show = "auto"' in text
        await pilot.press("left")
        await settle(pilot)
        assert "at 5" in on_screen.shown(screen), "a cursor reads the curve"
        await pilot.press("v")
        await settle(pilot)
        text = on_screen.shown(screen)
        assert "2 of 2" in text and "recovery.resid_post" in text and "capital" in text
        assert app.focused is screen.query_one(Heatmap)
        await pilot.press("v", "escape")
        await settle(pilot)
        assert not isinstance(app.screen, FiguresScreen)


async def test_a_run_is_not_drawn_under_it_and_is_again_under_what_it_shines_through(
    traced: RunFolder, settle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = InterpApp(traced.path.parent, traced.path)
    async with app.run_test(size=(100, 30)) as pilot:
        run = await on_screen.ready(pilot)
        drawn: list[str] = []
        await opened(pilot, settle)
        assert run._view is not None and not run.in_sight
        monkeypatch.setattr(run._view, "draw_tables", lambda: drawn.append("tables"))
        run._plots.wanted = run._plots.interval = run._tables.wanted = run._tables.interval = 0.0
        for _ in range(3):
            run._look_changed()
            await asyncio.sleep(0.3)
        assert not drawn, "a picture over it would be sent anew each time"
        await pilot.press("escape", "question_mark")
        await until(lambda: isinstance(app.screen, InfoScreen))
        drawn.clear()
        run._look_changed()
        await until(lambda: bool(drawn))
        assert run.in_sight, "the help lets it shine through"


async def test_a_run_without_figures_says_so(make_run: MakeRun, settle: Any) -> None:
    folder = make_run("empty")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, settle)
        assert "This run has no figures yet." in on_screen.shown(screen)
        await pilot.press("v")


async def test_pictures_come_first_and_go_where_the_link_is_slow(traced: RunFolder, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def drawn(file: Path, width: int, family: str) -> str:
        asked.append((file.name, width))
        return "an image"

    monkeypatch.setattr(pictures, "drawn", drawn)
    monkeypatch.setattr(pictures, "cell_width", lambda: 10)
    monkeypatch.setattr(pictures, "widget", lambda protocol: Static(f"DRAWN AS {protocol}"))
    app = InterpApp(traced.path.parent, traced.path)
    app.pictures = Pictures("sixel", "DejaVu Sans")
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, settle)
        assert "1 of 3  recovery" in on_screen.shown(screen) and "DRAWN AS sixel" in on_screen.shown(screen)
        assert asked == [("recovery.svg", 1000)] and screen.copied() == str(traced.path / "figures" / "recovery.svg")
        await pilot.press("v")
        await settle(pilot)
        assert "2 of 3" in on_screen.shown(screen) and "DRAWN" not in on_screen.shown(screen)
        monkeypatch.setattr(figures, "backlog_of", lambda driver: 5)
        await pilot.press("V")
        await settle(pilot)
        text = on_screen.shown(screen)
        assert pictures.SLOW_LINK in text and "1 of 2" in text and "score" in text, "what can be drawn in braille, in its place"
        assert app.pictures.protocol is None


async def test_a_picture_that_cannot_be_drawn_says_why(traced: RunFolder, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(file: Path, width: int, family: str) -> None:
        raise UserError("recovery.svg cannot be drawn: no root node")

    monkeypatch.setattr(pictures, "drawn", fails)
    monkeypatch.setattr(pictures, "cell_width", lambda: 10)
    app = InterpApp(traced.path.parent, traced.path)
    app.pictures = Pictures("kitty", "DejaVu Sans")
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, settle)
        assert "no root node" in on_screen.shown(screen)
        await pilot.press("v")
        await settle(pilot)
        assert "no root node" not in on_screen.shown(screen)


def test_look(snap_compare: Any, traced: RunFolder, settle: Any) -> None:
    async def ready(pilot: Any) -> None:
        await opened(pilot, settle)

    assert snap_compare(InterpApp(traced.path.parent, traced.path), terminal_size=(80, 24), run_before=ready)
