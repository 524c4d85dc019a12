"""The Run screen: how it looks in every state, what its keys do, and that it stays responsive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import FINISHED, INIT_LOSS, REPORT, RESULT, WARNING, Chains, beginning, certification, sampling
from long_log import write_long
from on_screen import press, ready, shown

from interp_tui.app import InterpApp
from interp_tui.screens.confirm import ConfirmScreen
from interp_tui.terminal import host
from interp_tui.views.sampling import SamplingView
from interp_tui_engine import atomic
from interp_tui_engine.events import ChainFailed, Event, Stamped, Warned, to_line
from interp_tui_engine.runfolder import ACTIVE, Owner, RunFolder, Status

NOW = 1_790_000_000.0
SIZES = [(80, 24), (140, 40)]
at_both_sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
DIGESTS = {"samples.zarr/sampling_loss": "a41f" * 16, "samples.zarr/init_loss": "9c20" * 16}
TABLES = {
    "seed": 100,
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 512}},
    "params": {"lr": 1e-4, "n_beta": 30.0, "localization": 100.0, "num_chains": 4, "num_draws": 200},
}
HOSTILE = "\x1b]52;c;ZXZpbA==\x07 [/b] [red]not markup[/red] \u202egnirts \x1b[2J"

MakeRun = Callable[..., RunFolder]
pytestmark = pytest.mark.usefixtures("settle")  # its quick idle check is what makes key presses quick


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def write(folder: RunFolder, events: Sequence[Event]) -> None:
    lines = [to_line(Stamped(seq, NOW - 60 + 0.1 * seq, event)) for seq, event in enumerate(events, 1)]
    folder.events_path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def run(make_run: MakeRun) -> MakeRun:
    """A run folder whose supervisor has just written its status, or did before it ended."""

    def make(events: Sequence[Event], state: str = "running", *, kind: str = "llc", name: str = "pythia-scan", **status: Any) -> RunFolder:
        done = state == "done"
        tables = TABLES | ({"result": {"sha256": DIGESTS}} if done else {})
        folder = make_run(name, kind=kind, state=state, tables=tables, result=RESULT if done and kind == "llc" else None, device="cpu")
        write(folder, events)
        if done:
            folder.report_path.write_text(REPORT)
        if state != "queued":
            owner = Owner.me() if state in ACTIVE else None
            folder.write_status(
                replace(Status.from_json(atomic.read_json(folder.path / "status.json")), updated=NOW - 0.4, owner=owner, **status)
            )
        folder.shard(0).mkdir(parents=True)
        (folder.shard(0) / "engine.log").write_text("loading builtin:tiny\nsampling 4 chains on 2 threads\n")
        return folder

    return make


@pytest.fixture
def picture(snap_compare: Any) -> Callable[..., bool]:
    """Compare the screen of a run with its stored picture, after some keys."""

    def compare(folder: RunFolder, size: tuple[int, int], *keys: str, theme: str | None = None) -> bool:
        async def before(pilot: Any) -> None:
            await ready(pilot)
            if theme:
                pilot.app.theme = theme
                await pilot.pause(0)
                await ready(pilot)
            await press(pilot, *keys)

        return bool(snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=size, run_before=before))

    return compare


# -- looks


@at_both_sizes
def test_queued(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run([], "queued"), size)


@at_both_sizes
def test_loading(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(beginning()[:2], done=0, total=0), size)


@at_both_sizes
def test_running(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(sampling(142)), size)


@at_both_sizes
def test_failed_chain(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run([*sampling(142, fail={2: 31}), WARNING]), size)


@at_both_sizes
def test_frozen(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(sampling(60)), size, "space")


@at_both_sizes
def test_highlight_cursor_and_log(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(sampling(120, apart=True)), size, "1", "left", "shift+left", "l")


@at_both_sizes
def test_done_live(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run([*sampling(200, fail={2: 31}), FINISHED], "done"), size)


@at_both_sizes
def test_done_result(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run([*sampling(200, fail={2: 31}), FINISHED], "done"), size, "tab")


@at_both_sizes
def test_manifest(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(sampling(20)), size, "tab", "tab")


@at_both_sizes
def test_log(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run([*sampling(200, fail={2: 31}), WARNING, FINISHED], "done"), size, "shift+tab")


@at_both_sizes
def test_crashed(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(sampling(80), "crashed", exit={"reason": "owner gone"}), size)


@at_both_sizes
def test_interrupted(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(
        run(sampling(80), "interrupted", exit={"reason": "stopped on request", "advice": "resume goes on from the checkpoint"}), size
    )


@at_both_sizes
def test_certify(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(certification(), kind="certify", name="all"), size)


@at_both_sizes
def test_a_kind_without_a_view_of_its_own(run: MakeRun, picture: Any, size: Any) -> None:
    assert picture(run(sampling(80), kind="unheard_of"), size)


def test_ascii_keeps_all_it_says(run: MakeRun, picture: Any) -> None:
    assert picture(run([*sampling(142, fail={2: 31}), WARNING]), (80, 24), theme="ascii")


# -- keys


async def test_keys_of_the_sampling_view(run: MakeRun) -> None:
    folder = run(sampling(60))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        view = screen.query_one(SamplingView)
        assert view.has_focus
        await press(pilot, "l")
        assert view.log_y
        await press(pilot, "2")
        assert view.highlight == 2
        await press(pilot, "2")
        assert view.highlight is None
        await press(pilot, "9")
        assert view.highlight is None
        await press(pilot, "down")
        assert view.highlight == 0
        await press(pilot, "left")
        assert view.cursor == 59
        assert "draw 59" in shown(screen)
        await press(pilot, "right")
        assert view.cursor is None
        for tab in ("result", "manifest", "log", "live"):
            await press(pilot, "tab")
            assert screen.query_one("TabbedContent").active == tab  # type: ignore[attr-defined]


async def test_frozen_view_stands_still_while_data_arrive(run: MakeRun) -> None:
    folder = run(sampling(60))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        view = screen.query_one(SamplingView)
        await press(pilot, "space")
        frame = view.frame
        write(folder, sampling(100))
        await ready(pilot)
        assert view.frame is frame
        assert screen.follower.state.traces[0].last == 99
        assert "events behind" in shown(screen)
        await press(pilot, "left")
        assert view.cursor == 59, "the cursor moves over what is shown"
        await press(pilot, "space")
        assert view.frame.last == 100
        assert "behind" not in shown(screen)


async def test_commands_become_control_files(run: MakeRun) -> None:
    folder = run(sampling(60))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await press(pilot, "p", "w")
        assert await appears(folder.control / "pause")
        assert await appears(folder.control / "checkpoint")
        for key, command in (("x", "stop"), ("K", "kill")):
            await pilot.press(key)
            await pilot.pause(0)
            assert isinstance(app.screen, ConfirmScreen)
            await pilot.press("n")
            await ready(pilot)
            assert not (folder.control / command).exists()
            await pilot.press(key)
            await pilot.pause(0)
            await pilot.press("y")
            assert await appears(folder.control / command)
            await ready(pilot)


async def appears(path: Path) -> bool:
    for _ in range(500):
        if path.exists():
            return True
        await asyncio.sleep(0.02)
    return False


async def test_export_writes_the_result(run: MakeRun) -> None:
    folder = run([*sampling(200), FINISHED], "done")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await press(pilot, "e")
        assert await appears(folder.path / "export" / "result.csv")


async def test_a_second_run_lies_under_the_first(run: MakeRun, make_run: MakeRun) -> None:
    folder = run(sampling(60))
    other = make_run("cold", events=sampling(100), age=7200)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await ready(pilot)
        app.listed = app.index.refresh()
        view = screen.query_one(SamplingView)
        await press(pilot, "o")
        for _ in range(500):
            if view.overlay is not None:
                break
            await asyncio.sleep(0.02)
        assert view.overlay is not None
        name, points = view.overlay
        assert (name, len(points)) == ("cold", 100)
        assert points[0][1] == pytest.approx(INIT_LOSS, abs=0.05)
        await press(pilot, "o")
        assert view.overlay is None
        assert other.path.is_dir()


async def test_it_follows_a_run_to_its_end(run: MakeRun) -> None:
    folder = run(sampling(60))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await ready(pilot)
        assert "draw 60/200" in shown(screen)
        write(folder, [*sampling(200), FINISHED])
        atomic.write_json(folder.result_path, RESULT)
        folder.write_status(replace(folder.status(), state="done", updated=NOW))
        screen = await ready(pilot)
        assert "draw 200/200" in shown(screen)
        assert "done" in shown(screen)
        await press(pilot, "tab")
        assert "38.21 ± 0.46" in shown(screen)


async def test_a_silent_run_says_so(run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(sampling(60))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        monkeypatch.setattr(host, "now", lambda: NOW + 12.0)
        screen = await ready(pilot)
        assert "no update for 12 s" in shown(screen)


# -- what is not ours to trust


async def test_hostile_text_is_shown_as_text(run: MakeRun) -> None:
    chains = Chains(2, 200)
    events = [*beginning("llc", HOSTILE), *chains.events(0, 20), ChainFailed(1, 20, HOSTILE), Warned(HOSTILE)]
    folder = run(events, "failed", exit={"reason": HOSTILE, "advice": HOSTILE})
    folder.manifest_path.write_text('kind = "llc"\nname = "[/b] \\u202e"\n')
    folder.report_path.write_text(HOSTILE)
    (folder.shard(0) / "engine.log").write_text(HOSTILE + "\n")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        for _ in range(4):
            text = shown(await ready(pilot))
            assert not {c for c in text if ord(c) < 32 and c != "\n"}
            assert "\u202e" not in text
            await press(pilot, "tab")
        assert "[/b]" in shown(await ready(pilot))


async def test_a_folder_that_goes_away_is_no_crash(run: MakeRun) -> None:
    folder = run(sampling(60))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        folder.path.rename(folder.path.with_name("elsewhere"))
        assert "its folder was deleted or moved" in shown(await ready(pilot))


async def test_keys_are_answered_while_a_long_log_is_read(run: MakeRun) -> None:
    folder = run([])
    write_long(folder, 100_000)
    app = InterpApp(folder.path.parent, folder.path)
    turns: list[float] = []

    async def watch() -> None:
        while True:
            # the loop's own CPU time between two of its turns: what delays a key, whatever else the machine is doing
            start = time.thread_time()
            await asyncio.sleep(0.005)
            turns.append(time.thread_time() - start)

    async with app.run_test(size=(140, 40)) as pilot:
        watching = asyncio.create_task(watch())
        screen = await ready(pilot)
        watching.cancel()
        assert screen.follower.state.traces[0].last > 30_000
    turns.sort()
    assert turns[int(len(turns) * 0.95)] < 0.05
