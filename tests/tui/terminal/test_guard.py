"""A fault of a key, a timer, a background task, a view or a run costs just that: the app goes on, logs it and says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from on_screen import app_on, ready, shown
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from interp_tui.app import InterpApp
from interp_tui.commands import doctor
from interp_tui.runs import run_index
from interp_tui.screens import key_ids
from interp_tui.screens.info import InfoScreen
from interp_tui.screens.new_run import NewRunScreen
from interp_tui.screens.run import RunScreen
from interp_tui.screens.runs import RunsScreen
from interp_tui.terminal import guard
from interp_tui.views.generic import GenericView
from interp_tui.views.sampling import SamplingView
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]


TOLD: list[str] = []
"""Every notice of the test, also those that have gone from the screen again."""


@pytest.fixture(autouse=True)
def forgiving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notify = InterpApp.notify

    def noted(self: InterpApp, message: str, *, title: str = "", **more: Any) -> None:
        TOLD.append(f"{title}: {message}")
        notify(self, message, title=title, **more)

    TOLD.clear()
    monkeypatch.setattr(InterpApp, "notify", noted)
    monkeypatch.setattr(InterpApp, "forgiving", True)
    monkeypatch.setattr(RunScreen, "forgiving", True)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come about")


def fail(*args: Any) -> None:
    raise ZeroDivisionError("division by zero")


class Boom(Message):
    """A message that some widget cannot take."""


def notices(app: InterpApp) -> list[str]:
    return TOLD


async def test_a_key_that_fails_is_reported_and_the_next_works(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InterpApp, "action_copy", fail)
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        await pilot.press("y")
        assert any("A fault of interp-tui; it goes on: ZeroDivisionError: division by zero" in notice for notice in notices(app))
        await pilot.press("question_mark")
        await until(lambda: isinstance(app.screen, InfoScreen))
    (log,) = Path.cwd().rglob("error.log")
    assert "ZeroDivisionError" in log.read_text()


@pytest.mark.parametrize("place", ["timer", "worker", "callback", "handler"])
async def test_what_fails_in_the_background_is_reported(runs_root: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        if place == "timer":
            app.set_timer(0.01, fail)
        elif place == "worker":
            app.run_worker(fail, thread=True)
        elif place == "callback":
            app.call_later(fail)
        else:
            monkeypatch.setattr(RunsScreen, "on_boom", fail, raising=False)
            app.screen.post_message(Boom())
        await until(lambda: any("ZeroDivisionError" in notice for notice in notices(app)))
        await pilot.press("n")
        await until(lambda: isinstance(app.screen, NewRunScreen))


async def test_a_widget_of_textual_that_fails_takes_its_screen_with_it(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        await pilot.press("n")
        await until(lambda: bool(app.screen.query(Input)))
        monkeypatch.setattr(Input, "on_boom", fail, raising=False)
        app.screen.query(Input).first().post_message(Boom())
        await until(lambda: isinstance(app.screen, RunsScreen))  # the pilot would wait for the widget to answer
        await pilot.press("n")
        await until(lambda: isinstance(app.screen, NewRunScreen))


async def test_faults_without_end_end_the_app_and_say_where_the_log_is(runs_root: Path) -> None:
    app = InterpApp(runs_root)
    with pytest.raises(ZeroDivisionError):
        async with app.run_test():
            app.set_interval(0.005, fail)
            await until(lambda: app.crash is not None)
    assert app.return_code == 1 and app.crash is not None
    what, log = app.crash
    assert what == "ZeroDivisionError: division by zero" and log.endswith("error.log")


def test_faults_long_apart_are_never_too_many() -> None:
    count = guard.FaultCount()
    assert max(count.add(now) for now in range(0, 1000, 5)) < guard.LEAVE_AFTER + 1
    assert [guard.FaultCount().add(0.0), guard.FaultCount().add(5.0)] == [1, 1]


@pytest.mark.parametrize("method", ["compose", "take", "draw_plots", "draw_tables"])
async def test_a_view_that_fails_gives_way_to_the_numbers(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(SamplingView, method, fail)
    app = app_on(make_run("one"))
    async with app.run_test() as pilot:
        screen = await ready(pilot)
        assert isinstance(screen._view, GenericView)
        assert any("cannot be drawn as its kind is" in notice for notice in notices(app))
        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)


async def test_a_run_that_cannot_be_read_costs_only_its_own_row(
    make_run: MakeRun, runs_root: Path, settle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("good")
    bad = make_run("bad").path.name
    status = RunFolder.status

    def deep(folder: RunFolder) -> Any:
        if folder.path.name == bad:
            raise RecursionError("maximum recursion depth exceeded")
        return status(folder)

    monkeypatch.setattr(RunFolder, "status", deep)
    assert [(run.status.name, run.status.state) for run in run_index.RunIndex(runs_root).refresh()].count(("bad", "crashed")) == 1
    app = InterpApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        text = shown(app.screen)
        assert "good" in text and "this folder cannot be read" in text


async def test_a_run_whose_log_cannot_be_followed_costs_only_its_screen(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run("one")
    monkeypatch.setattr("interp_tui.runs.follow.Follower.read", fail)
    app = app_on(folder)
    async with app.run_test() as pilot:
        await until(lambda: any("ZeroDivisionError" in notice for notice in notices(app)))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsScreen))


async def test_the_palette_opened_and_closed_quickly(runs_root: Path) -> None:
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        for keys in ("a", "", "lp", "n"):
            for key in ("ctrl+p", *keys, "escape", "escape"):
                app.post_message(key_event(key))
            await pilot.pause(0)
        await pilot.pause(0.3)
        assert app.is_running and not notices(app)


def key_event(name: str) -> Any:
    from textual.events import Key as Pressed

    return Pressed(name, name if len(name) == 1 else None)


def theme_file(**variables: str) -> Path:
    folder = Path("config/themes")
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[colors]", 'primary = "#6cb6ff"', "", "[variables]", *(f'{name} = "{value}"' for name, value in variables.items())]
    path = folder / "mine.toml"
    path.write_text("\n".join(lines))
    return path


async def test_a_bad_colour_keeps_the_theme_as_it_was(runs_root: Path) -> None:
    theme_file(good="#112233")
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        app.theme = "mine"
        await pilot.pause()
        theme_file(good="#445566", bogus="#zz")
        app.reload_themes()
        await pilot.pause()
        assert app.theme == "mine" and app.theme_variables["good"] == "#112233"
        assert any("theme mine.toml: line 6: variables.bogus: '#zz' is no colour" in notice for notice in notices(app))


async def test_a_theme_that_became_unusable_does_not_keep_the_app_from_starting(runs_root: Path) -> None:
    theme_file(good="#zz")
    Path("config/state.json").write_text(json.dumps({"theme": "mine"}))
    app = InterpApp(runs_root)
    async with app.run_test():
        assert app.theme == "dark" and any("variables.good" in notice for notice in notices(app))


@pytest.mark.parametrize(
    ("name", "value"), [("rule", "#fff 60%"), ("footer-background", "$x"), ("link-style", "#fff"), ("a b", "red"), ("good", "bold")]
)
def test_doctor_tells_of_values_that_no_style_sheet_takes(name: str, value: str) -> None:
    path = theme_file(**{name.replace(" ", "-"): value})
    path.write_text(path.read_text().replace(name.replace(" ", "-"), f'"{name}"'))
    (finding,) = [finding for finding in doctor.examine(None) if finding.name == "themes"]
    assert f"variables.{name}: {value!r}" in finding.advice


def test_keys_that_change_nothing_are_named() -> None:
    problems = key_ids.problems({"runs.stpo": "ctrl+x", "runs.stop": "ctrl-x", "app.help": "question_mark,f1", "run.pause": ","}, InterpApp)
    assert problems == [
        "config.toml: keys.runs.stpo: no key has this id; did you mean 'runs.stop'?",
        "config.toml: keys.runs.stop: 'ctrl-x' is no key, such as x, ctrl+x or f5",
    ]


def test_a_key_that_no_terminal_sends_leaves_the_binding_as_it_is() -> None:
    assert key_ids.usable({"runs.stop": "hello", "runs.new": "ctrl+n,f3", "app.help": "f1"}) == {"runs.new": "ctrl+n,f3", "app.help": "f1"}


async def test_the_app_says_which_of_the_users_keys_it_does_not_know(runs_root: Path) -> None:
    Path("config").mkdir()
    Path("config/config.toml").write_text('[keys]\n"runs.stpo" = "ctrl+x"\n')
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        for _ in range(100):
            await pilot.pause(0.05)
            if notices(app):
                break
        assert any("did you mean 'runs.stop'" in notice for notice in notices(app))
    assert "keys.runs.stpo" in next(finding.advice for finding in doctor.examine(None) if finding.name == "config")


def test_every_own_widget_with_handlers_is_guarded() -> None:
    key_ids.bound(InterpApp)
    for cls in _subclasses(Widget):
        if cls.__module__.startswith("interp_tui.") and _handlers(cls):
            assert issubclass(cls, guard.Guarded), cls


def _subclasses(cls: type) -> list[type]:
    return [cls, *(inner for sub in cls.__subclasses__() for inner in _subclasses(sub))]


def _handlers(cls: type) -> bool:
    return any(name.startswith(("on_", "_on_")) or (name == "_decorated_handlers" and value) for name, value in vars(cls).items())
