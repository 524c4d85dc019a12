"""The token drawer: opened over a view, it says what is known, leads to the run that knows it, and starts the run that would."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import on_screen
import pytest

from interp_tui.app import InterpApp
from interp_tui.runs import model_look
from interp_tui.screens.new_run import NewRunScreen
from interp_tui.screens.run import RunScreen
from interp_tui.screens.token import TokenScreen
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.events import Metrics, RunFinished, RunStarted
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
TOKENS = ["The", " capital", " of", " France"]


def two(make_run: MakeRun) -> tuple[RunFolder, RunFolder]:
    """A lens over a text, whose view the drawer is opened from, and a trace of the same text."""
    tables = {"model": {"source": "builtin:tiny", "revision": "final"}, "params": {"prompt": "".join(TOKENS), "answer": " is"}}
    top = [[" word", " other"]] * 4
    cells = [
        Metrics("cells", 9, {"tokens": TOKENS, "asked": [" is"] * 4, "layers": 2}),
        *(Metrics("cells", at, {"layer": at, "top": top, "top_prob": [[0.5, 0.25]] * 4, "answer_prob": [0.1] * 4}) for at in range(2)),
    ]
    events = [RunStarted("logit_lens", "france", device="cpu"), *cells, RunFinished("done", 1.0, {"answer_prob": 0.5})]
    lens = make_run("france", kind="logit_lens", events=events, tables=tables, age=10.0, total=2, done=2, unit="layer")
    result = {"tokens": TOKENS, "layers": [0, 1], "recovery": {"resid_post": [[0, 0, 0, 0.85], [0, 0, 0, 0.1]]}}
    return lens, make_run("trace", kind="causal_trace", result=result, tables=tables, age=20.0)


async def opened(pilot: Any, settle: Any) -> TokenScreen:
    await on_screen.ready(pilot)
    await pilot.press("u")
    for _ in range(400):
        screen = pilot.app.screen
        if isinstance(screen, TokenScreen) and screen.parts is not None:
            return screen
        await pilot.pause(0.01)
    raise AssertionError(f"no drawer, but {pilot.app.screen}")


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_look(snap_compare: Any, make_run: MakeRun, settle: Any, size: tuple[int, int]) -> None:
    lens, _ = two(make_run)

    async def ready(pilot: Any) -> None:
        await opened(pilot, settle)
        await settle(pilot)

    assert snap_compare(InterpApp(lens.path.parent, lens.path), terminal_size=size, run_before=ready)


async def test_enter_opens_the_run_that_knows(make_run: MakeRun, settle: Any) -> None:
    lens, trace = two(make_run)
    app = InterpApp(lens.path.parent, lens.path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, settle)
        assert screen.token.tokens == tuple(TOKENS) and screen.token.model == "builtin:tiny"
        screen.query_one(ListTable).move_to("causal_trace#")
        await pilot.press("enter")
        await on_screen.ready(pilot)
        assert isinstance(app.screen, RunScreen) and app.screen.folder == trace


async def test_n_starts_the_run_that_would_say_it(make_run: MakeRun, settle: Any) -> None:
    lens, _ = two(make_run)
    app = InterpApp(lens.path.parent, lens.path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, settle)
        screen.query_one(ListTable).move_to("attention#")
        await pilot.press("n")
        for _ in range(400):
            if isinstance(app.screen, NewRunScreen) and app.screen.draft is not None:
                break
            await pilot.pause(0.01)
        assert isinstance(app.screen, NewRunScreen) and app.screen.draft is not None
        assert app.screen.draft.kind.name == "attention" and app.screen.draft.texts["params", "prompt"] == "The capital of France"


SAYS = {
    "layers": [
        {"layer": 0, "top": [" is", "\x1b[2J"], "top_prob": [0.5, None]},
        {"layer": 1, "top": [" Paris"], "top_prob": [0.9]},
        {"layer": "x"},
    ],
    "heads": [{"head": "L1H3", "position": 3, "token": " France", "weight": 0.62}],
}


def answering(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script in the place of the process that looks at the model."""
    monkeypatch.setattr(model_look, "COMMAND", (sys.executable, "-c", f"import json, sys, time; asked = json.load(sys.stdin); {script}"))


async def test_l_asks_the_model_itself(make_run: MakeRun, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lens, _ = two(make_run)
    answering(monkeypatch, f"assert asked['text'] == 'The capital of France'; print(json.dumps({SAYS!r}))")
    app = InterpApp(lens.path.parent, lens.path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, settle)
        await pilot.press("l")
        for _ in range(2000):
            if "L1H3" in on_screen.shown(screen):
                break
            await pilot.pause(0.01)
        text = on_screen.shown(screen)
        assert "L0  ‘is’ 0.50" in text and "L1  ‘Paris’ 0.90" in text and "L1H3 at ‘France’ with 0.62" in text and "\x1b" not in text
        await pilot.press("enter")
        assert app.screen is screen, "the model's own answer leads to no run"


async def test_closing_the_drawer_ends_the_look(make_run: MakeRun, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lens, _ = two(make_run)
    answering(monkeypatch, "time.sleep(1000)")
    app = InterpApp(lens.path.parent, lens.path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, settle)
        await pilot.press("l")
        for _ in range(2000):
            if screen._look is not None and screen._look.process is not None:
                break
            await pilot.pause(0.01)
        assert screen._look is not None and screen._look.process is not None and "asking builtin:tiny" in on_screen.shown(screen)
        await pilot.press("escape")
        await settle(pilot)
        assert screen._look.process.wait(60) != 0


@pytest.mark.parametrize(
    ("said", "raises"),
    [('{"error": "no such model", "hint": "h"}', "no such model"), ("", "could not be looked at"), ("[1", "could not be looked at")],
)
def test_a_model_that_cannot_be_asked(said: str, raises: str) -> None:
    with pytest.raises((UserError, RunFailed), match=raises):
        model_look.lines_of(said, "MemoryError", 1, "org/name")


async def test_without_a_token_it_says_so(make_run: MakeRun, settle: Any) -> None:
    folder = make_run("bare")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(120, 40)) as pilot:
        await on_screen.ready(pilot)
        await pilot.press("u")
        for _ in range(2000):
            if any("no token under the cursor" in notice.message for notice in app._notifications):
                return
            await pilot.pause(0.01)
        raise AssertionError("nothing was said")
