"""A run that is told to stop ends within seconds, wherever it is, and goes on to the numbers of one that never was told: every kind.

One SIGINT to its supervisor, as ctrl-c sends it, or two. Seconds are of CPU that the run still took: beside other work the wall's say
little. Runs are forks, as in `kill`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from . import forked
from .check import Check
from .kill import MORE, QUICK, SHORTEST, compared, numbers_of, request_of
from .requests import kinds

WITHIN = {1: 5.0, 2: 1.0}
"""Seconds in which a run must have ended, by the number of signals."""
STOPS = 2
"""Stops in a run before it is let go to its end."""


def parts(quick: bool) -> Sequence[str]:
    """Every kind, and a run on two workers and a sweep beside them."""
    return QUICK if quick else (*kinds(), *MORE)


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each stop, and one for the numbers in the end."""
    del quick
    from interp_tui_engine import supervisor

    draw, request = random.Random(f"{seed} {name}"), request_of(name)
    with tempfile.TemporaryDirectory() as place:
        whole = supervisor.prepare(request, Path(place) / "whole")
        began = time.monotonic()
        forked.supervisor_of(whole).wait()
        length = time.monotonic() - began
        numbers = numbers_of(whole)
        for signals in (1, 2):
            folder = supervisor.prepare(request, Path(place) / f"stopped-{signals}")
            for _ in range(STOPS):
                if folder.status().state != "done":
                    yield _stopped(f"{name}, {signals} SIGINT", folder, signals, max(SHORTEST, draw.uniform(0.05, 0.7) * length))
            if folder.status().state != "done":
                forked.supervisor_of(folder).wait()
            yield compared(f"{name}, gone on after {signals} SIGINT", folder, numbers, STOPS)


def _stopped(what: str, folder: Any, signals: int, after: float) -> Check:
    """Start the run, signal its supervisor after a while, and see how and how soon it ends."""
    process = forked.supervisor_of(folder)
    try:
        process.wait(timeout=after)
        return Check(what, folder.status().state == "done", "ended before")
    except subprocess.TimeoutExpired:
        pass
    before, began = spent(process.pid), time.monotonic()
    for _ in range(signals):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.15)  # two at once are one to a process
    code = process.wait()
    took, used = time.monotonic() - began, process.cpu - before
    state = folder.status().state
    unbegun = state == "queued" and code == -signal.SIGINT  # told before its first line: nothing was begun, and a resume begins it
    passed = state == "done" or (state == "interrupted" and code == 130) or unbegun
    return Check(what, passed and min(took, used) <= WITHIN[signals], f"{state}, exit {code}, {used:.2f} s of CPU, {took:.1f} s")


def spent(pid: int) -> float:
    """Seconds of CPU that a supervisor, its workers and those that it has seen end have taken."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
