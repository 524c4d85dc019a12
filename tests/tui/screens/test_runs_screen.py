"""The Runs screen: how it looks in every state, and what its keys do."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from interp_tui.app import InterpApp
from interp_tui.screens.confirm import ConfirmScreen
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.events import ChainFailed, Event, Metrics, Progress, RunStarted, Warned
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
Settle = Callable[[Any], Any]
LLC_TABLES = {
    "seed": 100,
    "model": {"source": "builtin:tiny"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 512}},
    "params": {"lr": 1e-4, "n_beta": 30.0, "localization": 100.0},
}
LLC = {"llc_mean": 38.214, "llc_std": 0.91, "rhat": 1.02, "ess": 311.0}
SIZES = [(80, 24), (140, 40)]
IDS = ["80x24", "140x40"]
at_both_sizes = pytest.mark.parametrize("size", SIZES, ids=IDS)


def losses(count: int = 60) -> list[Event]:
    """A loss that climbs from its start and levels off, as under SGLD."""
    trace: list[Event] = [RunStarted("llc", "x", device="cpu")]
    for step in range(count):
        loss = 3.42 - 0.12 * 0.93**step
        trace.append(Metrics("chains", step, {"loss": [loss + 0.01 * ((7 * step + 3 * chain) % 5) for chain in range(4)]}))
    return [*trace, Progress(count, count, "draw")]


def every_state(make_run: MakeRun) -> None:
    """One run in each state, as a researcher's folder might look after a week."""
    make_run(
        "pythia-scan",
        state="running",
        age=240,
        model="pythia-70m",
        done=142,
        total=200,
        headline=LLC,
        eta=72.0,
        events=losses(),
        device="cuda:0",
    )
    make_run("l6-8k", kind="sample", state="paused", age=1260, model="SmolLM2-135M", done=56, total=200, events=losses(30))
    make_run("winding-down", state="stopping", age=1500, done=80, total=100, headline=LLC)
    make_run("tiny", state="done", age=3700, headline=LLC, events=losses(), result=LLC | {"kind": "llc"})
    make_run("docs-vs-code", kind="sample", state="crashed", age=3 * 3600, done=41, exit={"reason": "owner gone"})
    make_run(
        "too-hot",
        state="failed",
        age=86400,
        done=31,
        exit={"reason": "all 4 chains failed", "advice": "lower lr or raise localization"},
        events=[ChainFailed(2, 31, "loss is not finite")],
    )
    make_run(
        "overnight",
        state="interrupted",
        age=2 * 86400,
        done=12,
        total=4000,
        exit={"reason": "stopped with a checkpoint", "advice": "resume goes on from here"},
    )
    make_run("next-one", state="queued", age=9 * 86400)


def two_runs(make_run: MakeRun) -> None:
    """The same experiment at two step sizes."""
    for name, lr, shift in (("cold", 1e-5, 0.0), ("warm", 1e-4, 3.2)):
        tables = LLC_TABLES | {"params": LLC_TABLES["params"] | {"lr": lr}, "provenance": {"git_commit": name * 3, "python": "3.11.9"}}
        values = {"kind": "llc", "name": name, "llc_mean": 38.214 + shift, "llc_std": 0.91, "healthy_chains": 4, "seconds": 61.2 + shift}
        make_run(name, tables=tables, result=values, headline=LLC, age=600 - 10 * shift)


@at_both_sizes
def test_look_empty(snap: Any, runs_root: Path, size: tuple[int, int]) -> None:
    assert snap(InterpApp(runs_root), size)


@at_both_sizes
def test_look_all_states(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size)


@at_both_sizes
def test_look_failed_preview(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "down", "down", "down", "down", "down")


@at_both_sizes
def test_look_filtered(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "/", "type:kind=llc&done", "enter")


@at_both_sizes
def test_look_confirm_delete(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "down", "down", "down", "d")


@at_both_sizes
def test_look_help(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "?")


@at_both_sizes
def test_look_palette(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "ctrl+p", "type:tiny")


@at_both_sizes
def test_look_compare(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    two_runs(make_run)
    assert snap(InterpApp(runs_root), size, "c", "down", "c")


@pytest.mark.parametrize("theme", ["ascii", "light", "high-contrast", "colour-blind-safe"])
def test_look_theme(snap: Any, runs_root: Path, make_run: MakeRun, theme: str) -> None:
    every_state(make_run)
    app = InterpApp(runs_root)
    app.theme = theme
    assert snap(app, (80, 24))


HOSTILE = "\x1b]52;c;aGk=\x07 [/b] [bold]\u202eabc"


@at_both_sizes
def test_look_hostile_text(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    hostile_run(make_run)
    assert snap(InterpApp(runs_root), size)


def hostile_run(make_run: MakeRun) -> None:
    """What a run folder of someone else's may say."""
    make_run(
        HOSTILE,
        kind=HOSTILE,
        model=HOSTILE,
        state="failed",
        headline={HOSTILE: HOSTILE},
        exit={"reason": HOSTILE, "advice": HOSTILE},
        events=[ChainFailed(0, 1, HOSTILE), Warned(HOSTILE)],
        result={HOSTILE: HOSTILE},
        folder_name="20260921-000000-llc-\x1b[31m[bold]\u202e",
        unit=HOSTILE,
        device=HOSTILE,
    )


def shown(app: InterpApp) -> str:
    """All text on the screen, as it would go to the terminal."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


async def test_hostile_text_shows_as_text_wherever_it_goes(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    hostile_run(make_run)
    make_run("tame", age=10)
    app = InterpApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        seen = ""
        for keys in (["end"], ["d"], ["escape", "ctrl+p", "5", "2"], ["escape", "c", "up", "c"], ["escape", "end", "r"], ["e"], ["t"]):
            await pilot.press(*keys)
            await settle(pilot)
            text = shown(app)
            assert not {unicodedata.category(c) for c in text.replace("\n", "")} & {"Cc", "Cf", "Cs"}
            seen += text
        assert seen.count("␛]52;c;aGk=␇ [/b] [bold]‹202E›abc") > 3


async def test_the_cursor_starts_on_what_is_going_on_and_stays_on_its_run(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    make_run("old", age=9000)
    make_run("live", state="running", age=5000)
    make_run("newer", age=3000)
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        table = app.screen.query_one(ListTable)
        assert table.key is not None and "live" in table.key
        make_run("newest", age=100)
        app.screen.list_runs()  # type: ignore[attr-defined]
        await settle(pilot)
        assert "live" in table.key and len(table.rows) == 4


async def test_the_first_run_takes_the_keys(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert app.focused is None or not isinstance(app.focused, Input)
        make_run("first")
        app.screen.list_runs()  # type: ignore[attr-defined]
        await settle(pilot)
        assert app.screen.query_one(ListTable).has_focus
        await pilot.press("d")
        await settle(pilot)
        assert isinstance(app.screen, ConfirmScreen)


async def test_filter_narrows_and_escape_widens(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    every_state(make_run)
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        table = app.screen.query_one(ListTable)
        await pilot.press("/", *"failed")
        await settle(pilot)
        assert [row.cells[2].text for row in table.rows] == ["too-hot"]
        app.screen.query_one(Input).value = "failed & age > x"
        await settle(pilot)
        assert len(table.rows) == 1  # half a filter leaves what was shown
        assert "is no number" in shown(app)
        await pilot.press("enter", "escape")
        await settle(pilot)
        assert len(table.rows) == 8 and table.has_focus


async def test_steering_drops_commands_in_the_run_folder(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    live = make_run("live", state="running", age=10)
    paused = make_run("paused", state="paused", age=20)
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("p", "x")
        await settle(pilot)
        assert set(live.take_commands()) == {"pause", "stop"}
        await pilot.press("d")
        await settle(pilot)
        assert not isinstance(app.screen, ConfirmScreen)  # a run that goes on is not deleted
        await pilot.press("down", "p")
        await settle(pilot)
        assert paused.take_commands() == ["resume"]


async def test_delete_asks_and_the_safe_answer_is_no(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    folder = make_run("tiny")
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for answer in ("escape", "enter", "n"):
            await pilot.press("d")
            await settle(pilot)
            assert isinstance(app.screen, ConfirmScreen)
            await pilot.press(answer)
            await settle(pilot)
            assert folder.path.exists()
        await pilot.press("d", "y")
        await settle(pilot)
        assert not folder.path.exists() and not list(runs_root.iterdir())
        assert "No runs yet" in shown(app)


async def test_export_writes_beside_and_says_where(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    folder = make_run(
        "tiny", result={"kind": "llc", "llc_mean": 38.2, "llc_per_chain": [1.0, 2.0], "cases": [{"name": "a", "passed": True}]}
    )
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("e")
        await settle(pilot)
        assert "export/result.csv" in " ".join(str(note.message) for note in app._notifications)
    lines = (folder.path / "export" / "result.csv").read_text().splitlines()
    assert lines == ["key,value", "kind,llc", "llc_mean,38.2", 'llc_per_chain,"[1.0, 2.0]"', "cases.0.name,a", "cases.0.passed,True"]


async def test_what_cannot_be_done_is_said_without_a_traceback(runs_root: Path, make_run: MakeRun, settle: Settle) -> None:
    folder = make_run("broken", state="crashed")
    folder.manifest_path.write_text("kind = ")
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("r", "e", "t")
        await settle(pilot)
        assert len(app._notifications) >= 2


async def test_a_key_of_ones_own_and_the_last_theme(runs_root: Path, settle: Settle, tmp_path: Path) -> None:
    (tmp_path / "config" / "themes").mkdir(parents=True)
    (tmp_path / "config" / "config.toml").write_text('[keys]\nruns.new = "z"\n')
    (tmp_path / "config" / "themes" / "mine.toml").write_text('[colors]\nprimary = "#ff00ff"\n')
    (tmp_path / "config" / "themes" / "bad.toml").write_text('[colors]\nprimary = "mauve-ish"\n')
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "no colour" in " ".join(str(note.message) for note in app._notifications)
        app.theme = "mine"
        await settle(pilot)
        await pilot.press("z")
        await settle(pilot)
        assert app.screen.title == "New run" or type(app.screen).__name__ == "NewRunScreen"
    assert InterpApp(runs_root).theme == "mine"


def test_no_color_takes_the_ascii_theme(runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert InterpApp(runs_root).theme == "ascii"
