"""The app under random keys over real runs of every kind, a palette typed faster than it can answer, and terminals that vanish.

Nothing that is pressed may end the app but what asks for it; what ends it must end its process, with an exit code that says why.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from interp_tui_engine.runfolder import Owner, RunFolder
from pilot_waits import answered

from . import real_runs, terminal
from .check import Check
from .requests import kinds

LETTERS = "abcdefghijklmnoprstuvwxyzABCDEFGHIJKLMNOPRSTUVWXYZ0123456789 "
NAMED = """up down left right enter escape tab shift+tab home end pageup pagedown backspace delete slash question_mark f1 f5
ctrl+o ctrl+t ctrl+p ctrl+r ctrl+s ctrl+u semicolon number_sign plus minus comma full_stop less_than_sign greater_than_sign
left_square_bracket right_square_bracket"""
MASHED = [*LETTERS, *NAMED.split()]
"""Every key that the app or a widget might know, but for those that leave it."""
KEYS, QUICK_KEYS = 360, 80
"""From each kind's run and each place: 10,000 in all."""
EACH = 80
"""Keys in one life of the app."""
PLACES = ("runs", "new")
BESIDE = ("logit_lens", "causal_trace")
"""Kinds of which a run is in the list beside the one that is opened: they are made in a second."""
PALETTES, QUICK_PALETTES = 200, 6
VANISHED = 30
"""Terminals closed at random moments; short runs leave them to the tests of the way out."""
SIZES = ((80, 24), (140, 40), (40, 12), (200, 50))
THEMES = ("dark", "ascii", "light", "high-contrast")
WORDS = ("lens", "run", "theme", "open", "new", "zzz", "llc", "quit", "keys", "screen", "[/b]", "")
CLOSES = ("escape", "ctrl+p", "enter", "down enter", "pagedown escape")
"""What closes a palette; the first of them starts nothing."""
PATIENCE = 900.0
"""Seconds that one key may take where others have the processors: what it must not do is take for ever."""
QUICK_PARTS = ("logit_lens", "palettes")


def parts(quick: bool) -> Sequence[str]:
    """The kinds, whose runs are opened in turn, and what is tried of the app as a whole."""
    return QUICK_PARTS if quick else (*kinds(), *PLACES, "palettes", "terminals")


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each life of the app, each fast palette and each terminal."""
    with tempfile.TemporaryDirectory() as place, _fenced(Path(place)):
        made = Path(place) / "runs"
        made.mkdir()
        real_runs.under(made, list(dict.fromkeys([*([name] if name in kinds() else []), *BESIDE])))
        if name == "palettes":
            yield palettes_over(made, QUICK_PALETTES if quick else PALETTES, seed)
        elif name == "terminals":
            yield from terminal.checks(VANISHED, made, seed)
        else:
            yield from keys_over(made, name, QUICK_KEYS if quick else KEYS, seed)


def keys_over(made: Path, name: str, count: int, seed: int) -> Iterator[Check]:
    """`count` keys over copies of the runs in `made`, in lives of `EACH`, from the run of kind `name` or from a screen of `PLACES`."""
    where = next((path.name for path in made.iterdir() if f"-{name}-" in path.name), name)
    for life in range(-(-count // EACH)):
        draw = random.Random(f"{seed} keys {name} {life}")
        size, theme = draw.choice(SIZES), draw.choice(THEMES)
        keys = draw.choices(MASHED, k=min(EACH, count - life * EACH))
        with tempfile.TemporaryDirectory() as place:
            runs = _unsettled(made, Path(place) / "runs", draw)
            what = f"{len(keys)} keys from {name} at {size[0]}×{size[1]}, {theme}, life {life}"
            yield _lived(what, lambda: _mash(runs, where, size, theme, keys))  # noqa: B023 - called at once


def palettes_over(made: Path, count: int, seed: int) -> Check:
    """The palette opened, typed into and closed, `count` times in one life of the app, without a wait between keys."""
    draw = random.Random(f"{seed} palettes")
    with tempfile.TemporaryDirectory() as place:
        runs = _unsettled(made, Path(place) / "runs", draw)
        keys = []
        for _ in range(count):
            word = draw.choice(WORDS)[: draw.randrange(7)]
            closes = (
                draw.choice(["escape", "escape", "ctrl+p", "enter", "down enter", "pagedown escape"])
                if word not in ("quit", "qui")
                else "escape"
            )
            keys += ["ctrl+p", *word, *closes.split(), *(["escape"] * draw.randrange(3))]
        return _lived(f"{count} palettes, seed {seed}", lambda: _mash(runs, "runs", (100, 30), "dark", keys, wait=False))


def _lived(what: str, life: Any) -> Check:
    try:
        asyncio.run(life())
    except Exception as fault:
        frames = "".join(traceback.format_exception(fault)[-4:])
        return Check(what, False, frames)
    return Check(what, True)


async def _mash(runs: Path, where: str, size: tuple[int, int], theme: str, keys: Sequence[str], *, wait: bool = True) -> None:
    """One life of the app. Raises what a key made it raise, and TimeoutError where one took too long."""
    from interp_tui.app import InterpApp

    app = InterpApp(runs, runs / where if (runs / where).is_dir() else None)
    app.theme = theme
    async with app.run_test(size=size) as pilot:
        if where == "new":
            app.new_run()
        await asyncio.sleep(0.2)
        for number, key in enumerate(keys):
            if not app.is_running:
                break
            try:
                await asyncio.wait_for(pilot.press(key), PATIENCE)
                await asyncio.sleep(0.01 if wait else 0)
            except Exception as fault:
                fault.add_note(f"after {' '.join(keys[max(0, number - 12) : number + 1])}")
                raise


async def _patient(pilot: Any) -> bool:
    return await answered(pilot, PATIENCE)


def _unsettled(made: Path, root: Path, draw: random.Random) -> Path:
    """A copy of the runs in which some go on, wait, failed or were cut off, each as far as a part of its log tells."""
    shutil.copytree(made, root)
    for path in sorted(root.iterdir()):
        state = draw.choice(["done", "done", "running", "paused", "queued", "failed", "interrupted", "crashed"])
        folder = RunFolder(path)
        if state == "done" or not folder.manifest_path.exists():
            continue
        lines = folder.events_path.read_bytes().splitlines(keepends=True)
        folder.events_path.write_bytes(b"".join(lines[: draw.randrange(len(lines) + 1)]) + draw.choice([b"", b'{"v":1,"seq"']))
        folder.result_path.unlink(missing_ok=True)
        owner = Owner.me() if state in ("running", "paused", "queued") else Owner("elsewhere", "none", 1, 1.0)
        state = "running" if state == "crashed" else state  # whose owner is gone
        folder.write_status(replace(folder.status(), state=state, owner=owner))
    return root


@contextmanager
def _fenced(place: Path) -> Iterator[None]:
    """Nothing is started, nothing is written outside `place`, and the app forgives no fault."""
    from textual.pilot import Pilot

    from interp_tui.app import InterpApp
    from interp_tui.runs import session
    from interp_tui.screens.run import RunScreen
    from interp_tui_engine.errors import UserError

    async def at_once(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
        await asyncio.sleep(0)

    def refuse(*args: object) -> None:
        raise UserError("nothing is started here")

    before = Path.cwd()
    with ExitStack() as stack:
        homes = {name: str(place / name.lower()) for name in ("INTERP_TUI_CONFIG", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME")}
        stack.enter_context(mock.patch.dict(os.environ, {**homes, "TEXTUAL_ANIMATIONS": "none"}))
        for name in ("start", "resume", "replay"):
            stack.enter_context(mock.patch.object(session, name, refuse))
        for screen in (RunScreen, InterpApp):
            stack.enter_context(mock.patch.object(screen, "forgiving", False))
        for waits in ("textual.pilot.wait_for_idle", "textual.app.wait_for_idle"):
            stack.enter_context(mock.patch(waits, at_once))
        stack.enter_context(mock.patch.object(Pilot, "_wait_for_screen", _patient))
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(before)
