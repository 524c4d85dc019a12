"""The Queue screen, over a queue of this machine and a Slurm that answers as a real one did (22.05, its squeue's own lines)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import on_screen
import pytest

from interp_tui.app import InterpApp
from interp_tui.runs import queue_actions, queue_look
from interp_tui.screens.confirm import ConfirmScreen
from interp_tui.screens.queue import QueueScreen
from interp_tui.screens.run import RunScreen
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine import run_queue
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

PATH = os.environ["PATH"]
MakeRun = Callable[..., RunFolder]
SQUEUE = """\
12_0|RUNNING|None|n1|main|2026-09-21T13:58:21|14:04|0:56|{there}/slurm/000.sh|{mark}
12_1|RUNNING|None|n1|main|2026-09-21T13:58:21|14:04|0:56|{there}/slurm/000.sh|{mark}
12_2|PENDING|Resources||main|2026-09-21T14:31:00|15:00|0:00|{there}/slurm/000.sh|{mark}
12_3|PENDING|JobHeldUser||main|N/A|15:00|0:00|{there}/slurm/000.sh|{mark}
13|RUNNING|None|n2|main|2026-09-21T13:58:21|59:04|0:56|/home/someone/train.sh|(null)
"""
LOG = "".join(f"[{step:>3}/100] loss 3.{step:03}  \x1b[31mred\x1b[0m\n" for step in range(40))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_TUI_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))  # this machine may have Slurm's commands, or a cluster
    monkeypatch.setattr(run_queue, "free_devices", list)
    monkeypatch.setattr("interp_tui_engine.supervisor.launch", lambda folder, variables: None)


@pytest.fixture
def queues(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that goes on here, two that wait for a device, and one whose tasks are in Slurm; returns the last."""
    make_run("pythia-scan", state="running", age=260.0, eta=72.0, device="cuda:0")
    waiting = [
        make_run(name, state="queued", age=age, kind=kind) for name, kind, age in (("l6-8k", "train_sae", 200), ("docs", "bif", 100))
    ]
    run_queue.add(waiting)
    there = make_run("there", state="crashed", age=900.0)
    (there.path / "slurm").mkdir()
    mark = "interp-tui:3ace9adda14a49169c09a781a2f7164e"
    entry = {"comment": mark, "tasks": [f"shard {shard}" for shard in range(4)], "job": "12", "at": 1.0}
    (there.path / "slurm" / "submissions.json").write_text(json.dumps({"v": 1, "submissions": [entry]}))
    (there.path / "shards" / "0").mkdir()
    (there.path / "shards" / "0" / "engine.log").write_text(LOG)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "answer").write_text(SQUEUE.format(there=there.path, mark=mark))
    (commands / "squeue").write_text(f"#!/bin/sh\necho asked >> {commands}/asked\ncat {commands}/answer\n")
    (commands / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {commands}/orders\n')
    (commands / "scancel").write_text(f'#!/bin/sh\necho "cancel $@" >> {commands}/orders\n')
    for command in ("squeue", "scontrol", "scancel"):
        (commands / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{PATH}")
    return there


def orders(tmp_path: Path) -> list[str]:
    path = tmp_path / "bin" / "orders"
    return path.read_text().splitlines() if path.exists() else []


async def opened(pilot: Any, settle: Any, at: str = "") -> QueueScreen:
    """The screen, once it shows what there is, with the cursor on the row whose key holds `at`."""
    await settle(pilot)
    await pilot.press("Q")
    for _ in range(500):
        screen = pilot.app.screen
        if isinstance(screen, QueueScreen) and screen.now is not None:
            break
        await pilot.pause(0.01)
    assert isinstance(screen, QueueScreen)
    await settle(pilot)
    table = screen.query_one(ListTable)
    for row in list(table.rows) if at else ():
        if at in row.key:
            table.move_to(row.key)
    await settle(pilot)
    return screen


async def until(pilot: Any, true: Callable[[], object]) -> None:
    for _ in range(500):
        if true():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come true")


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_look(snap_compare: Any, queues: RunFolder, settle: Any, size: tuple[int, int]) -> None:
    async def ready(pilot: Any) -> None:
        await opened(pilot, settle, "slurm 12_0")

    assert snap_compare(InterpApp(queues.path.parent), terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_empty(snap_compare: Any, runs_root: Path, settle: Any, size: tuple[int, int]) -> None:
    async def ready(pilot: Any) -> None:
        await opened(pilot, settle)

    assert snap_compare(InterpApp(runs_root), terminal_size=size, run_before=ready)


async def test_what_a_task_says_of_itself_and_why_one_waits(queues: RunFolder, settle: Any) -> None:
    async with InterpApp(queues.path.parent).run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot, settle, "slurm 12_0")
        text = on_screen.shown(screen)
        assert "[ 39/100] loss 3.039" in text and "\x1b" not in text, "the end of its log, made safe"
        assert "14:04 left" in text and "someone" not in text
        screen.query_one(ListTable).move_to("slurm 12_2")
        await settle(pilot)
        assert "Resources" in on_screen.shown(screen) and "starts 2026-09-21 14:31" in on_screen.shown(screen)


async def test_keys_reach_slurm(queues: RunFolder, settle: Any, tmp_path: Path) -> None:
    async with InterpApp(queues.path.parent).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, settle, "slurm 12_0")
        await pilot.press("h")  # it runs: there is nothing to hold
        await pilot.press("R")
        await until(pilot, lambda: orders(tmp_path) == ["requeue 12_0"])
        for key, job, order in (("h", "12_2", "hold 12_2"), ("h", "12_3", "release 12_3")):
            screen.query_one(ListTable).move_to(f"slurm {job}")
            await settle(pilot)
            await pilot.press(key)
            await until(pilot, lambda order=order: orders(tmp_path)[-1] == order)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: orders(tmp_path)[-1] == "cancel --quiet 12_3")
        assert len((tmp_path / "bin" / "asked").read_text().splitlines()) <= 3, "orders do not make squeue be asked more often"


async def test_keys_reach_the_queue_of_this_machine(queues: RunFolder, settle: Any) -> None:
    async with InterpApp(queues.path.parent).run_test(size=(140, 40)) as pilot:
        await opened(pilot, settle, "bif-docs")
        await pilot.press("K")
        await until(pilot, lambda: [folder.path.name[-4:] for folder in run_queue.waiting()] == ["docs", "6-8k"])
        await settle(pilot)
        await pilot.press("J")
        await until(pilot, lambda: [folder.path.name[-4:] for folder in run_queue.waiting()] == ["6-8k", "docs"])
        await pilot.press("p")
        await until(pilot, run_queue.is_paused)
        await until(pilot, lambda: "p goes on" in on_screen.shown(pilot.app.screen))
        await pilot.press("p")
        await until(pilot, lambda: not run_queue.is_paused())
        await settle(pilot)
        await pilot.press("d")
        await until(pilot, lambda: len(run_queue.waiting()) == 1)


async def test_enter_opens_the_run_and_escape_comes_back(queues: RunFolder, settle: Any) -> None:
    async with InterpApp(queues.path.parent).run_test(size=(140, 40)) as pilot:
        await opened(pilot, settle, "slurm 12_0")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        assert pilot.app.screen.folder.path == queues.path
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, QueueScreen))


async def test_what_slurm_refuses_is_said(queues: RunFolder, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(item: queue_look.QueueItem) -> str:
        raise UserError("Slurm did not requeue 12_0: Access denied", "squeue --me shows how it stands")

    monkeypatch.setattr(queue_actions, "requeue", refuse)
    async with InterpApp(queues.path.parent).run_test(size=(140, 40)) as pilot:
        await opened(pilot, settle, "slurm 12_0")
        await pilot.press("R")
        await until(pilot, lambda: any("Access denied" in notice.title for notice in pilot.app._notifications))


async def test_a_controller_that_is_slow_holds_up_no_key(queues: RunFolder, settle: Any, tmp_path: Path) -> None:
    gate = tmp_path / "bin" / "gate"
    os.mkfifo(gate)
    (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\ncat {gate}\ncat {tmp_path}/bin/answer\n")
    async with InterpApp(queues.path.parent).run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.05)
        await pilot.press("Q")
        await until(pilot, lambda: isinstance(pilot.app.screen, QueueScreen))
        screen = pilot.app.screen
        await pilot.press("question_mark")
        await until(pilot, lambda: pilot.app.screen is not screen)
        assert screen.now is None, "squeue has not answered yet"
        await pilot.press("escape")
        gate.write_text("")
        await until(pilot, lambda: screen.now is not None)
