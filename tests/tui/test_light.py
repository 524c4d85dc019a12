"""The app is light: it never imports what only a worker needs, and a thousand runs do not make it stutter."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from interp_tui.app import InterpApp
from interp_tui.runs.run_index import RunIndex
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
ROOTS = os.pathsep.join(path for path in sys.path if path.rstrip("/").endswith(("/tui", "/engine")))
EVERY_SCREEN = (
    "import interp_tui.app, interp_tui.screens.runs, interp_tui.screens.new_run, interp_tui.screens.run, interp_tui.screens.compare"
)
HEAVY = ("torch", "transformers", "zarr", "datasets", "sklearn", "xarray")


def test_importing_the_app_imports_nothing_heavy() -> None:
    code = f"import sys; {EVERY_SCREEN}; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ROOTS}, check=True)
    assert run.stdout.strip() == "[]"


def test_the_first_paint_waits_for_no_pydantic() -> None:
    code = "import sys, interp_tui.app, interp_tui.screens.runs; print([m for m in ('pydantic', 'interp_tui.export') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ROOTS}, check=True)
    assert run.stdout.strip() == "[]"


async def test_what_can_wait_begins_once_the_runs_are_listed(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    make_run("one")
    begun: list[int] = []
    app = InterpApp(runs_root, once_listed=lambda: begun.append(len(app.listed)))
    async with app.run_test() as pilot:
        await settle(pilot)
        app.screen.list_runs(at_once=True)  # type: ignore[attr-defined]
        await settle(pilot)
    assert begun == [1]


def a_thousand(make_run: MakeRun) -> None:
    for index in range(1000):
        make_run(f"run-{index:04d}", age=60.0 * index, headline={"llc_mean": 38.0 + index, "llc_std": 1.0})


def test_a_second_look_at_a_thousand_runs_reads_none_of_them(make_run: MakeRun, runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_thousand(make_run)
    index = RunIndex(runs_root)
    assert len(index.refresh()) == 1000
    monkeypatch.setattr("interp_tui.runs.session.read_run", lambda folder: pytest.fail(f"read {folder.path.name} again"))
    assert len(index.refresh()) == 1000


async def test_the_loop_does_not_stall_over_a_thousand_runs(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    a_thousand(make_run)
    app = InterpApp(runs_root)
    spent: list[float] = []

    async def watch() -> None:
        while True:
            # CPU time between two turns, not the clock: on a busy machine the clock measures the others
            before = time.thread_time()
            await asyncio.sleep(0.005)
            spent.append(time.thread_time() - before)

    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        watcher = asyncio.create_task(watch())
        for _ in range(2):
            app.screen.list_runs()  # type: ignore[attr-defined]
            await pilot.press("down", "pagedown", "end", "home")
            await settle(pilot)
        watcher.cancel()
        assert len(app.screen.query_one(ListTable).rows) == 1000
    spent.sort()
    assert spent[int(0.95 * len(spent))] < 0.05


def test_a_hang_up_ends_the_app_cleanly(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from interp_tui.app import run_app; raise SystemExit(run_app(Path({str(tmp_path)!r})))"
    main, side = pty.openpty()
    env = os.environ | {"PYTHONPATH": ROOTS, "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
    os.close(side)
    seen = b""
    deadline = time.monotonic() + 60
    while b"No runs yet" not in seen and time.monotonic() < deadline:
        if select.select([main], [], [], 0.5)[0]:
            seen += os.read(main, 65536)
    process.send_signal(signal.SIGHUP)
    with suppress(OSError):  # the terminal's other end closes with the process
        while time.monotonic() < deadline:
            seen += os.read(main, 65536)
    os.close(main)
    assert process.wait(timeout=20) == 128 + signal.SIGHUP
    assert b"\x1b[?1049l" in seen  # the terminal was given back as it was
