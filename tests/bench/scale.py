"""Does it hold at scale? Ten thousand runs listed and filtered, a log of 200,000 events opened, a table of fifty thousand features shown.

Each is a fresh process in a pseudo-terminal of 140×40, repeated. Memory is the process's peak of resident bytes. `cold` is the first look
of all at ten thousand runs; later ones find the index that it left. A key's answer is timed from the press to the text that it brings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interp_tui.runs.run_index import FOLDER
from interp_tui.text.numbers import number as shown

from . import large_folders, long_run, machine
from .figures import Figure, of_rounds
from .light import PROGRAM
from .side import ROOT, SCRATCH
from .terminal import Terminal

RUNS, EVENTS, FEATURES = 10_000, 200_000, 50_000
MIB = 2.0**20


def run(quick: bool) -> dict[str, Any]:
    """All of them; `quick` at a twentieth of the size."""
    repeats, share = (2, 20) if quick else (5, 1)
    SCRATCH.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=SCRATCH, prefix="scale-"))
    environment = {**os.environ, "INTERP_TUI_CONFIG": str(work / "config"), "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    try:
        figures = [
            *_runs(work / "runs", environment, RUNS // share, repeats),
            *_events(work / "long", environment, EVENTS // share, repeats),
            *_features(work / "wide", environment, FEATURES // share, repeats),
        ]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures.append(Figure("cores busy with other work", machine.others_load(), "cores"))
    return {"figures": figures}


class Taken:
    """Seconds, processor seconds and bytes of several rounds, by what was timed."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}
        self.bytes: list[float] = []

    def note(self, name: str, seconds: float, cpu: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)
        self.cpu.setdefault(name, []).append(cpu)

    def figure(self, name: str, title: str, target: str | None = None) -> Figure:
        spent = sorted(self.cpu[name])[len(self.cpu[name]) // 2]
        return of_rounds(title, self.seconds[name], "s", target, f"{spent:.2f} s of processor time")

    def memory(self, title: str, target: str) -> Figure:
        return of_rounds(title, [taken / MIB for taken in self.bytes], "MiB", target)


def _rounds(command: list[str], environment: dict[str, str], repeats: int, look: Callable[[Terminal, Taken], None]) -> Taken:
    taken = Taken()
    for _ in range(repeats):
        with Terminal(command, environment, str(ROOT)) as terminal:
            look(terminal, taken)
            taken.bytes.append(terminal.peak_bytes())
    return taken


def _runs(root: Path, environment: dict[str, str], count: int, repeats: int) -> list[Figure]:
    large_folders.runs(root, count)
    command, newest = [*PROGRAM, "--runs", str(root)], f"run-{count - 1:05d}"

    def look(terminal: Terminal, taken: Taken) -> None:
        taken.note("paint", terminal.wait_for(None, 60) - terminal.started, terminal.cpu())
        taken.note("newest", terminal.wait_for(newest, 120) - terminal.started, terminal.cpu())
        taken.note("list", terminal.wait_for(f"Runs {count:,}", 120) - terminal.started, terminal.cpu())
        terminal.idle(1.0)
        terminal.press("/")
        terminal.wait_for("kind = llc", 60)  # the line to type in is there; before, letters are keys of the table
        wanted = f"1 of {count:,}"
        before, spent = terminal.drawn, terminal.cpu()
        pressed = terminal.press(large_folders.FIRST_OF_ALL)
        taken.note("filter", terminal.wait_for(wanted, 60, before) - pressed, terminal.cpu() - spent)

    cold = _rounds(command, environment, 1, look)
    assert (root / FOLDER).is_dir()
    warm = _rounds(command, environment, repeats, look)
    started = time.perf_counter()
    subprocess.run([*PROGRAM, "list", "--runs", str(root)], check=True, capture_output=True, cwd=ROOT)
    return [
        warm.figure("paint", f"{count:,} runs: first paint", "< 1"),
        warm.figure("newest", f"{count:,} runs: the newest drawn"),
        warm.figure("list", f"{count:,} runs: all listed", "< 1.5"),
        cold.figure("list", f"{count:,} runs: all listed, no index yet"),
        warm.figure("filter", f"{count:,} runs: a filter of nine keys drawn", "< 0.3"),
        warm.memory(f"{count:,} runs: peak memory", "< 150"),
        Figure(f"interp-tui list, {count:,} runs", time.perf_counter() - started, "s"),
    ]


def _events(root: Path, environment: dict[str, str], count: int, repeats: int) -> list[Figure]:
    folder = long_run.write(root / "20260101-000000-llc-long", count)
    command = [*PROGRAM, "--runs", str(root)]

    def look(terminal: Terminal, taken: Taken) -> None:
        terminal.wait_for("long", 60)
        terminal.idle(1.0)
        before, spent = terminal.drawn, terminal.cpu()
        pressed = terminal.press("\r")
        last = terminal.wait_for(shown(long_run.LAST_GRADIENT), 120, before) - pressed
        taken.note("last", last, terminal.cpu() - spent)

    taken = _rounds(command, environment, repeats, look)
    size = folder.events_path.stat().st_size / MIB
    return [
        taken.figure("last", f"open a run of {count:,} events ({size:.0f} MiB): its last event drawn", "< 3"),
        taken.memory(f"a run of {count:,} events: peak memory", "< 150"),
    ]


def _features(root: Path, environment: dict[str, str], count: int, repeats: int) -> list[Figure]:
    folder = large_folders.features(root / "20260101-000000-inspect-wide", count)

    def look(terminal: Terminal, taken: Taken) -> None:
        taken.note("table", terminal.wait_for("SAE:L0:F0", 120) - terminal.started, terminal.cpu())
        terminal.idle(1.0)
        before, spent = terminal.drawn, terminal.cpu()
        pressed = terminal.press("G")
        taken.note("end", terminal.wait_for(f"F{count - 1}", 60, before) - pressed, terminal.cpu() - spent)

    taken = _rounds([*PROGRAM, str(folder.path)], environment, repeats, look)
    return [
        taken.figure("table", f"{count:,} features: their table drawn, start included"),
        taken.figure("end", f"{count:,} features: from the first to the last"),
        taken.memory(f"{count:,} features: peak memory", "< 150"),
    ]
