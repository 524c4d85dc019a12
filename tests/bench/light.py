"""Is it light? Start-up of the program, first paint of the app, opening a long run, and the event loop's lag while a run goes on.

Each is a fresh process, repeated, from exec to the last byte that matters, files warm in the page cache. The app runs in a pseudo-terminal
of 140×40: first paint is when the first visible text arrives, the list is there when the name of a run does. A run of 100,000 events is
opened from the list with Enter: it is open when its chains are drawn, and read when a number of its last event is. Lag is measured by
`lag` inside the app, on a real sampling run whose worker keeps the cores busy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from interp_tui.text.numbers import number as shown

from . import long_run, machine
from .figures import Figure, of_rounds
from .side import ROOT, SCRATCH
from .terminal import Terminal

_INSTALLED = Path(sys.executable).with_name("interp-tui")
PROGRAM = [str(_INSTALLED)] if _INSTALLED.exists() else [sys.executable, "-m", "interp_tui"]
MANIFEST = ROOT / "examples" / "manifests" / "llc.toml"
EVENTS = 100_000


def run(quick: bool) -> dict[str, Any]:
    """All of them, in seconds and milliseconds."""
    repeats, events = (2, 5_000) if quick else (11, EVENTS)
    SCRATCH.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=SCRATCH, prefix="light-"))
    environment = {**os.environ, "INTERP_TUI_CONFIG": str(work / "config"), "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    try:
        figures = [
            of_rounds("--help", [_command("--help") for _ in range(repeats)], "s", "< 0.3"),
            of_rounds("validate", [_command("validate", str(MANIFEST)) for _ in range(repeats)], "s", "< 0.7"),
        ]
        figures += _paint(work, environment, repeats, events)
        figures += _lag(work, environment, 2.0 if quick else 15.0)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures.append(Figure("cores busy with other work", machine.others_load(), "cores"))
    return {"figures": figures}


def _command(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([*PROGRAM, *arguments], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - start


def _paint(work: Path, environment: dict[str, str], repeats: int, events: int) -> list[Figure]:
    runs = work / "runs"
    folder = long_run.write(runs / "20260101-000000-llc-long", events)
    size = folder.events_path.stat().st_size / 2**20
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("first", "list", "open", "read", "direct")}
    for _ in range(repeats + 1):
        with Terminal([*PROGRAM, "--runs", str(runs)], environment, str(ROOT)) as terminal:
            times["first"].append((terminal.wait_for(None, 60) - terminal.started, terminal.cpu()))
            times["list"].append((terminal.wait_for("long", 60) - terminal.started, terminal.cpu()))
            terminal.idle(1.0)
            before, spent = terminal.drawn, terminal.cpu()
            pressed = terminal.press("\r")
            times["open"].append((terminal.wait_for("|grad|", 120, before) - pressed, terminal.cpu() - spent))
            times["read"].append((terminal.wait_for(shown(long_run.LAST_GRADIENT), 120, before) - pressed, terminal.cpu() - spent))
        with Terminal([*PROGRAM, str(folder.path)], environment, str(ROOT)) as terminal:
            times["direct"].append((terminal.wait_for(shown(long_run.LAST_GRADIENT), 120) - terminal.started, terminal.cpu()))
    figures = {}
    for name, pairs in times.items():  # the first of each warms the page cache
        spent = median(cpu for _, cpu in pairs[1:])
        figures[name] = ([seconds for seconds, _ in pairs[1:]], f"{spent:.2f} s of processor time")
    return [
        _timed("app: first paint", *figures["first"], target="< 1"),
        _timed("app: list of runs drawn", *figures["list"]),
        _timed(f"open a run of {events:,} events: its chains drawn", *figures["open"], target="< 1"),
        _timed(f"open a run of {events:,} events: its last event drawn", *figures["read"], extra=f", {size:.0f} MiB"),
        _timed(f"interp-tui RUN, {events:,} events: last event drawn", *figures["direct"], extra=", start included"),
    ]


def _timed(name: str, seconds: list[float], note: str, target: str | None = None, extra: str = "") -> Figure:
    return of_rounds(name, seconds, "s", target, note + extra)


def _lag(work: Path, environment: dict[str, str], seconds: float) -> list[Figure]:
    """Event-loop lag with the Run screen open on a run whose worker is sampling; and, for comparison, with nothing else going on."""
    found = {}
    with _sampling(work, environment) as busy:
        found["during a run"] = _probe(busy, work, environment, seconds)
    found["beside a finished run"] = _probe(busy, work, environment, seconds / 3)
    figures = []
    for name, late in found.items():
        late = sorted(late)
        p95 = late[int(0.95 * (len(late) - 1))]
        note = f"median {median(late):.1f}, p99 {late[int(0.99 * (len(late) - 1))]:.0f}, largest {late[-1]:.0f} ms; {len(late)} samples"
        figures.append(Figure(f"event-loop lag p95 {name}", p95, "ms", target="< 50" if name == "during a run" else None, note=note))
    return figures


def _probe(run: Path, work: Path, environment: dict[str, str], seconds: float) -> list[float]:
    out = work / "lag.json"
    out.unlink(missing_ok=True)
    with Terminal([sys.executable, "-m", "tests.bench.lag", str(run), str(seconds), str(out)], environment, str(ROOT)) as terminal:
        deadline = time.perf_counter() + seconds + 30
        while not out.exists():
            terminal.idle(0.2)
            if time.perf_counter() > deadline:
                raise TimeoutError(f"the probe did not finish; drawn last: {terminal.text()[-300:]!r}")
        terminal.idle(0.2)
    late: list[float] = json.loads(out.read_text())
    return late


@contextmanager
def _sampling(work: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A real llc run, detached, that samples while the block runs; stopped afterwards."""
    out = work / "runs" / "20260102-000000-llc-busy"
    options = ["--set", "params.num_draws=1000000", "--out", str(out), "--detach"]
    started = subprocess.run([*PROGRAM, "--batch", str(MANIFEST), *options], env=environment, cwd=ROOT, capture_output=True, text=True)
    if started.returncode:
        raise RuntimeError(f"the run did not start: {started.stderr[-500:]}")
    try:
        _await_events(out)
        yield out
    finally:
        subprocess.run([*PROGRAM, "stop", str(out)], env=environment, cwd=ROOT, capture_output=True)
        deadline = time.monotonic() + 60
        while _state(out) in ("running", "stopping", "queued") and time.monotonic() < deadline:
            time.sleep(0.2)


def _await_events(out: Path) -> None:
    deadline = time.monotonic() + 120
    while '"series":"chains"' not in (out / "events.jsonl").read_text() if (out / "events.jsonl").exists() else True:
        if time.monotonic() > deadline or _state(out) in ("failed", "crashed"):
            raise RuntimeError(f"the run is {_state(out)} and has reported no chains")
        time.sleep(0.2)


def _state(out: Path) -> str:
    try:
        return str(json.loads((out / "status.json").read_text())["state"])
    except (OSError, ValueError, KeyError):
        return "queued"
