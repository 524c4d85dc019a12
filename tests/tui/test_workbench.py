"""What the app does on every screen: keys in the footer, copying, telling of runs that end, themes that change, and any key at any time."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import sampling
from hypothesis import given
from hypothesis import strategies as st
from on_screen import look, ready, shown
from textual.color import Color
from textual.widgets import TabbedContent
from textual.widgets._footer import FooterKey

from interp_tui.app import InterpApp
from interp_tui.runs import notifications, session
from interp_tui.screens.new_run import NewRunScreen
from interp_tui.screens.palette import PaletteScreen
from interp_tui.screens.run import RunScreen
from interp_tui.screens.runs import RunsScreen
from interp_tui.terminal import config
from interp_tui.views.base import RunView
from interp_tui.views.generic import GenericView
from interp_tui.views.sampling import SamplingView, zoomed
from interp_tui.widgets.key_line import KeyLine
from interp_tui.widgets.legible import LEAST, contrast
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Stamped, to_line
from interp_tui_engine.runfolder import RunFolder, Status

MakeRun = Callable[..., RunFolder]
Settle = Callable[[Any], Any]


def sampled(make_run: MakeRun, state: str = "done") -> RunFolder:
    """A sampling run with its events."""
    folder = make_run("tiny", state=state, result={"llc_mean": 3.5})
    lines = [to_line(Stamped(seq, seq, event)) for seq, event in enumerate(sampling(30), 1)]
    folder.events_path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def keys_shown(app: InterpApp) -> list[str]:
    """What the footer offers, as far as it lies on the screen."""
    keys = app.screen.query_one(KeyLine).query(FooterKey)
    return [key.description for key in keys if key.region.right <= app.size.width and key.region.width]


# -- the footer


@pytest.mark.parametrize("width", [60, 80, 200])
async def test_help_and_the_way_back_are_in_every_footer(runs_root: Path, make_run: MakeRun, settle: Settle, width: int) -> None:
    app = InterpApp(runs_root, sampled(make_run, "running").path)
    async with app.run_test(size=(width, 24)) as pilot:
        await ready(pilot)
        await settle(pilot)
        shown = keys_shown(app)
        assert {"Back", "Help", "Palette", "Stop", "Pause"} <= set(shown)
        regions = sorted((key.region.x, key.region.right) for key in app.screen.query_one(KeyLine).query(FooterKey))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(regions)), "keys overlap"
        assert ("Freeze" in shown) == (width == 200)


async def test_a_wider_terminal_brings_keys_back(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    app = InterpApp(runs_root, sampled(make_run).path)
    async with app.run_test(size=(50, 24)) as pilot:
        await ready(pilot)
        await settle(pilot)
        few = keys_shown(app)
        await pilot.resize_terminal(160, 40)
        await ready(pilot)
        await settle(pilot)
        assert set(few) < set(keys_shown(app)) and "Export" in keys_shown(app)


# -- copying


@pytest.mark.parametrize(("tab", "copied"), [("live", "runs"), ("manifest", 'kind = "llc"')])
async def test_what_is_copied_from_a_run(runs_root: Path, make_run: MakeRun, tab: str, copied: str) -> None:
    app = InterpApp(runs_root, sampled(make_run).path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await ready(pilot)
        screen.query_one(TabbedContent).active = tab
        await ready(pilot)
        await pilot.press("y")
        assert copied in app.clipboard


async def test_a_run_of_the_list_is_copied_as_its_path(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    folder = sampled(make_run)
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert app.clipboard == str(folder.path)


# -- the ends of runs


def end(folder: RunFolder, state: str = "done") -> None:
    folder.write_status(Status(state=state, kind="llc", name="tiny", headline={"llc_mean": 3.5}))  # type: ignore[arg-type]


def test_only_runs_seen_going_on_end(make_run: MakeRun) -> None:
    seen = notifications.Endings()
    going, over, gone = (make_run(name, state=state) for name, state in (("a", "running"), ("b", "done"), ("c", "running")))
    seen.expect([going, over, gone])
    assert seen.look() == []
    end(going)
    shutil.rmtree(gone.path)
    seen.expect([going])
    assert [(folder, status.state) for folder, status in seen.look()] == [(going, "done")]
    assert seen.look() == []


async def test_the_end_of_a_run_is_told_wherever_one_is(
    runs_root: Path, make_run: MakeRun, settle: Settle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = sampled(make_run, "running")
    config.config_folder().mkdir(parents=True)
    hook = f'printf \'%s %s\' "$INTERP_TUI_STATE" "$INTERP_TUI_RUN" > {tmp_path}/told'
    (config.config_folder() / "config.toml").write_text(f"[done]\ncommand = '''{hook}'''\n")
    rung: list[bool] = []
    monkeypatch.setattr(InterpApp, "bell", lambda self: rung.append(True))
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        await settle(pilot)
        app.look_around()
        await settle(pilot)
        app.new_run()
        end(folder)
        app.look_around()
        await settle(pilot)
        assert [(notice.title, notice.message) for notice in app._notifications] == [("✓ llc tiny: done", "λ̂ 3.50")]
        assert rung == [True]
        for _ in range(200):
            if (tmp_path / "told").exists() and (tmp_path / "told").read_text():
                break
            await asyncio.sleep(0.02)
        assert (tmp_path / "told").read_text() == f"done {folder.path}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[done]\nbell = 'no'", "done.bell: 'no' is not true or false"),
        ("[done]\ncomand = 'x'", "done.comand: no such key; did you mean 'command'?"),
        ("[kyes]\n'app.quit' = 'Q'", "[kyes] is not one of [keys], [done], [pictures]; did you mean 'keys'?"),
        ("[pictures]\nshow = 'sixels'", "pictures.show: 'sixels' is not one of off, auto, kitty, sixel; did you mean 'sixel'?"),
    ],
)
def test_what_cannot_be_used_of_the_users_file_is_said(text: str, said: str) -> None:
    config.config_folder().mkdir(parents=True)
    (config.config_folder() / "config.toml").write_text(text)
    found = config.load()
    assert found.problems == (f"config.toml: {said}",) and found.bell and not found.command


# -- runs that cannot be drawn


async def test_a_view_that_fails_gives_way_to_the_numbers(
    runs_root: Path, make_run: MakeRun, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SamplingView, *args: object) -> None:
        raise TypeError("[/b] is not iterable")

    monkeypatch.setattr(RunScreen, "forgiving", True)
    monkeypatch.setattr(SamplingView, "take", fail)
    monkeypatch.setenv("XDG_STATE_HOME", str(runs_root.parent / "logs"))
    app = InterpApp(runs_root, sampled(make_run).path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await ready(pilot)
        await settle(pilot)
        (note,) = [note for note in app._notifications if note.severity == "error"]
        assert note.title == "This run cannot be drawn as its kind is" and "TypeError: [/b] is not iterable" in note.message
        assert isinstance(screen.query_one(RunView), GenericView) and "estimate.llc_mean" in shown(screen)


async def test_nothing_is_offered_for_a_run_whose_folder_went(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    folder = sampled(make_run, "interrupted")
    app = InterpApp(runs_root, folder.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await settle(pilot)
        assert "Resume" in keys_shown(app)
        shutil.rmtree(folder.path)
        await ready(pilot)
        await settle(pilot)
        assert "Resume" not in keys_shown(app) and "folder gone" in shown(app.screen)


# -- themes


async def test_a_theme_written_anew_is_drawn_at_once(runs_root: Path, settle: Settle) -> None:
    themes = config.config_folder() / "themes"
    themes.mkdir(parents=True)
    mine = themes / "mine.toml"
    mine.write_text("[colors]\nprimary = '#112233'\nbackground = '#000011'\n")
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        app.theme = "mine"
        await settle(pilot)
        mine.write_text("[colors]\nprimary = '#112233'\nbackground = '#ff0000'\n")
        app.look_around()
        await settle(pilot)
        assert Color.parse(app.theme_variables["background"]).r > 250


# -- any key at any time

LETTERS = "abcdefghijklmnoprstuvwxyzABCDEFGHIJKLMNOPRSTUVWXYZ0123456789 "
NAMED = """up down left right enter escape tab shift+tab home end pageup pagedown backspace delete slash question_mark f1 f5
ctrl+o ctrl+t ctrl+p ctrl+r ctrl+s ctrl+u"""
MASHED = [*LETTERS, *NAMED.split()]


@pytest.mark.parametrize("where", ["runs", "run", "new"])
async def test_no_order_of_keys_ends_the_app(
    runs_root: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, where: str, settle: Settle
) -> None:
    def refuse(*args: object) -> None:
        raise UserError("nothing is started here")

    for name in ("start", "resume", "replay"):
        monkeypatch.setattr(session, name, refuse)
    folder = sampled(make_run, "running")
    make_run("other")
    keys = random.Random(3).choices(MASHED, k=90)
    app = InterpApp(runs_root, folder.path if where == "run" else None)
    async with app.run_test(size=(90, 30)) as pilot:
        if where == "new":
            app.new_run()
        await settle(pilot)
        for key in keys:
            if not app.is_running:
                break
            await pilot.press(key)
    assert app.return_code in (0, None)


async def test_a_page_key_before_the_palette_is_drawn(runs_root: Path, settle: Settle) -> None:
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        await settle(pilot)
        app.action_command_palette()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if isinstance(app.screen, PaletteScreen):
                app.screen._action_command_list("page_down")
        assert isinstance(app.screen, PaletteScreen)


async def test_pasting_much_that_is_not_meant_for_a_terminal(runs_root: Path, settle: Settle) -> None:
    from textual import events

    app = InterpApp(runs_root)
    async with app.run_test(size=(120, 40)) as pilot:
        app.new_run("llc")
        for _ in range(500):
            await asyncio.sleep(0.02)
            if isinstance(app.screen, NewRunScreen) and app.screen.draft is not None and app.focused is not None:
                break
        await settle(pilot)
        app.post_message(events.Paste("x[/b]\x1b[2J" * 10_000))
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert app.is_running


async def test_every_row_can_be_clicked(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    for index in range(3):
        make_run(f"run-{index}", age=60.0 * index)
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for y in (0, 1, 2, 3, 17, 23):
            for x in (1, 79):
                await pilot.click(offset=(x, y))
                await pilot.pause(0)
                if not isinstance(app.screen, RunsScreen):
                    await pilot.press("escape")
                    await settle(pilot)
        app.back_home()
        assert isinstance(app.screen, RunsScreen) and app.screen.query_one(ListTable).rows


# -- colours


def test_contrast_is_that_of_the_guidelines() -> None:
    black, white, grey = Color(0, 0, 0), Color(255, 255, 255), Color.parse("#767676")
    assert contrast(black, white) == pytest.approx(21) and contrast(white, white) == 1
    assert contrast(grey, white) == pytest.approx(4.54, abs=0.005), "the lightest grey that is let pass on white at 4.5"


@pytest.mark.parametrize("theme", ["dark", "light", "high-contrast", "colour-blind-safe"])
async def test_a_row_can_be_read_under_the_cursor(runs_root: Path, make_run: MakeRun, settle: Settle, theme: str) -> None:
    make_run("failed-one", state="failed", exit={"reason": "loss not finite"})
    app = InterpApp(runs_root)
    app.theme = theme
    async with app.run_test(size=(120, 30)) as pilot:
        await settle(pilot)
        strip = app.screen.query_one(ListTable).render_line(1)
        styles = [segment.style for segment in strip if segment.text.strip() and segment.style is not None]
        assert styles and all(style.bgcolor == styles[0].bgcolor for style in styles)
        for style in styles:
            assert style.color is not None and style.bgcolor is not None
            assert contrast(Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)) >= LEAST


# -- zooming into a trace


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**6), st.integers(0, 40))
def test_a_zoomed_stretch_holds_what_it_is_about(stop: int, last: int, cursor: int | None, zoom: int) -> None:
    last = min(last, stop)
    cursor = None if cursor is None or not last else min(cursor, last - 1)
    start, end = zoomed(stop, last, cursor, zoom)
    assert 0 <= start < end and end - start <= stop
    assert (start, end) == (0, stop) or end <= max(last, end - start), "nothing beyond the newest draw"
    if zoom and cursor is not None:
        assert start <= cursor < end
    wider = zoomed(stop, last, cursor, max(0, zoom - 1))
    assert wider[1] - wider[0] >= end - start


async def test_keys_zoom_into_the_traces_and_back(runs_root: Path, make_run: MakeRun) -> None:
    app = InterpApp(runs_root, sampled(make_run).path)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        whole = await look(pilot)
        near = await look(pilot, "plus", "left")
        view = app.screen.query_one(SamplingView)
        assert (view.frame.start, view.frame.stop) != (0, 200) and view.frame.stop - view.frame.start < 200
        assert view.cursor is not None and view.frame.start <= view.cursor < view.frame.stop and near != whole
        assert await look(pilot, "right", "minus") == whole


@pytest.mark.parametrize("text", ["\0", "\ud800", "$(touch went-off)", "`touch went-off`"])
def test_what_a_run_is_called_neither_ends_nor_runs_anything(make_run: MakeRun, text: str, tmp_path: Path) -> None:
    folder = make_run("a")
    status = replace(folder.status(), state="done", kind=text, name=text, headline={"x": text})
    command = f'cd {tmp_path}; echo "$INTERP_TUI_KIND $INTERP_TUI_NAME $INTERP_TUI_HEADLINE" > told; mv told there'
    notifications.run_command(command, folder, status)
    for _ in range(1000):
        if (tmp_path / "there").exists():
            break
        time.sleep(0.01)
    assert (tmp_path / "there").exists() and not (tmp_path / "went-off").exists()
