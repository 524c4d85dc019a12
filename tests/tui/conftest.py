"""What tests of the app share: a world that holds still (clock, host, config folder, no animation) and run folders in every state."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from on_screen import ready as drawn
from textual.pilot import Pilot

from interp_tui.app import InterpApp
from interp_tui.screens.run import RunScreen
from interp_tui.terminal import host
from interp_tui_engine import atomic
from interp_tui_engine.events import Event, Stamped, to_line
from interp_tui_engine.runfolder import Owner, RunFolder, Status
from pilot_waits import answered

os.environ["TEXTUAL_ANIMATIONS"] = "none"  # read once, when Textual is first imported: by a test module, after this one
for _name in ("NO_COLOR", "INTERP_TUI_RUNS", "TEXTUAL", "COLORTERM"):
    os.environ.pop(_name, None)

NOW = 1_790_000_000.0
"""The moment every test of the app takes place: 2026-09-21 14:13:20 UTC."""

SIZES = [(80, 24), (140, 40)]

MakeRun = Callable[..., RunFolder]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Freeze everything on a screen that differs between machines and moments."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(RunScreen, "forgiving", False)  # a view that cannot draw its run fails the test
    monkeypatch.setattr(InterpApp, "forgiving", False)  # so does any fault
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("INTERP_TUI_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(host, "now", lambda: NOW)
    monkeypatch.setattr(host, "clock", lambda: "14:13")
    monkeypatch.setattr(host, "name", lambda: "gpu-box-3")
    monkeypatch.setattr(host, "devices", lambda: "2×H200 (1 free)")
    monkeypatch.setattr(host, "cores", lambda: "16 cores")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def runs_root(tmp_path: Path) -> Path:
    """The folder of runs; shown as ./runs, since tests run in its parent."""
    return tmp_path / "runs"


LLC_TABLES: dict[str, Any] = {
    "seed": 100,
    "model": {"source": "builtin:tiny", "revision": "final", "dtype": "float32", "device": "auto", "backend": "transformers"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 512}},
    "params": {
        "lr": 1e-4,
        "n_beta": 30.0,
        "localization": 100.0,
        "num_chains": 4,
        "num_draws": 100,
        "batch_size": 16,
        "sampling_data": "train",
    },
}


@pytest.fixture
def make_run(runs_root: Path) -> MakeRun:
    """A function that writes a run folder as a supervisor leaves it. `age` is how many seconds before NOW it started."""

    def make(
        name: str,
        *,
        kind: str = "llc",
        state: str = "done",
        age: float = 3600.0,
        model: str = "builtin:tiny",
        done: float = 100,
        total: float = 100,
        unit: str = "draw",
        headline: Mapping[str, Any] | None = None,
        exit: Mapping[str, Any] | None = None,
        events: Iterable[Event] = (),
        result: Mapping[str, Any] | None = None,
        tables: Mapping[str, Any] | None = None,
        folder_name: str | None = None,
        device: str = "cpu",
        eta: float | None = None,
    ) -> RunFolder:
        folder = RunFolder.create(runs_root / (folder_name or f"20260921-{999999 - int(age):06d}-{kind}-{name}"))
        request = {"kind": kind, "name": name} | (LLC_TABLES if tables is None else dict(tables))
        atomic.write_text(folder.manifest_path, tomli_w.dumps(request), durable=False)
        alive = state in {"queued", "running", "paused", "stopping"}
        status = Status(
            state=state,  # type: ignore[arg-type]
            kind=kind,
            name=name,
            model=model,
            done=done,
            total=total,
            unit=unit,
            eta_seconds=eta,
            headline=dict(headline or {}),
            device=device,
            owner=Owner.me() if alive else Owner("elsewhere", "none", 1, 1.0),
            started=NOW - age,
            updated=NOW - age / 2,
            exit=dict(exit or {}),
        )
        folder.write_status(status)
        lines = [to_line(Stamped(seq, NOW - age + seq, event)) for seq, event in enumerate(events, 1)]
        folder.events_path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        if result is not None:
            folder.result_path.write_text(json.dumps(dict(result)), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Wait until the app's threads have said what they found and it has been drawn.

    Textual's pilot waits until the process uses no CPU time, which takes a second a key on a busy machine; this asks the app instead.
    """

    async def at_once(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("textual.pilot.wait_for_idle", at_once)
    monkeypatch.setattr("textual.app.wait_for_idle", at_once)
    monkeypatch.setattr(Pilot, "_wait_for_screen", answered)

    async def wait(pilot: Any, quiet: float = 0.2) -> None:
        calm = 0.0
        if isinstance(pilot.app.screen, RunScreen):  # it follows its run for as long as it is there
            await drawn(pilot)
            return
        for _ in range(1000):
            start = time.monotonic()
            await asyncio.sleep(0.02)
            late = time.monotonic() - start > 0.06  # the loop was busy, or the machine was: neither counts as calm
            # the screen of a run that another one covers follows it for as long as it is there
            busy = any(not worker.is_finished and worker.group != "follow" for worker in pilot.app.workers)
            calm = 0.0 if busy else calm + (0.0 if late else 0.02)
            if calm >= quiet:
                break
        await pilot.pause(0)

    return wait


@pytest.fixture
def snap(snap_compare: Any, settle: Callable[..., Any]) -> Any:
    """Compare a screen with its stored picture after some keys; a text of several characters is typed in one go."""

    def compare(app: Any, size: tuple[int, int], *keys: str, do: Callable[[Any], None] | None = None) -> bool:
        async def ready(pilot: Any) -> None:
            await settle(pilot)
            if do is not None:
                do(app)
                await settle(pilot, 0.4)
            for key in keys:
                await pilot.press(*key.removeprefix("type:") if key.startswith("type:") else [key])
            if keys:
                await settle(pilot)

        return bool(snap_compare(app, terminal_size=size, run_before=ready))

    return compare
