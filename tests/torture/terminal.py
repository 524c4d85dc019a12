"""Terminals that vanish from under the app, and a palette typed into a real one: a process each, in a terminal of its own."""

from __future__ import annotations

import os
import pty
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .check import Check

OPENS = "import sys; from pathlib import Path; from interp_tui.app import run_app; sys.exit(run_app(Path(sys.argv[1])))"
DRAWN = b"Runs"
WAIT = 60.0
LEFT = b"\x1b[?1049l"
KEYS = (b"\x1b[B", b"\r", b"n", b"?", b"\x10llc", b"\x1b", b"\t", b"2", b"/kind", b" ")
SEQUENCES = 100


def checks(count: int, runs: Path, seed: int) -> Iterator[Check]:
    """`count` terminals closed at random moments; with any, a palette typed into one as fast as it takes it, too."""
    for number in range(count):
        yield vanished(runs, random.Random(f"{seed} terminal {number}"), f"terminal {number}, seed {seed}")
    if count:
        yield fast_palette(runs)


def vanished(runs: Path, draw: random.Random, what: str) -> Check:
    """The app in a terminal that is closed after some keys, or before it has drawn anything; its process has to end, and not with 0."""
    process, master = _start(runs)
    try:
        if draw.random() < 0.8 and not _until(process, master, DRAWN):
            return Check(what, False, "the app did not start")
        for key in draw.choices(KEYS, k=draw.randrange(6)):
            os.write(master, key)
            _drain(master, draw.choice([0.0, 0.0, 0.05, 0.3]))
    finally:
        os.close(master)
    try:
        code = process.wait(WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return Check(what, False, "the process does not end")
    return Check(what, code != 0, f"exit code {code}")


def fast_palette(runs: Path) -> Check:
    """The palette opened, typed into and closed, in bursts; then `q` has to end the app."""
    process, master = _start(runs)
    try:
        _until(process, master, DRAWN)
        for number in range(SEQUENCES):
            os.write(master, b"\x10" + b"open run"[: number % 9])
            _drain(master, 0.0 if number % 3 else 0.02)
            os.write(master, b"\x1b")
            _drain(master, 0.06)  # a lone escape is told from a sequence by the time after it
        _drain(master, 1.0)
        os.write(master, b"q")
        _until(process, master, LEFT)
        code = process.wait(WAIT)
    except subprocess.TimeoutExpired:
        return Check("fast palettes in a terminal", False, "q does not end the app")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
    return Check("fast palettes in a terminal", code == 0, f"exit code {code}")


def _start(runs: Path) -> tuple[subprocess.Popen[bytes], int]:
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"}
    command = [sys.executable, "-c", OPENS, str(runs)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment)
    os.close(slave)
    return process, master


def _until(process: subprocess.Popen[bytes], master: int, wanted: bytes) -> bool:
    """Read until the app has written these bytes, or has ended."""
    seen, end = b"", time.monotonic() + WAIT
    while wanted not in seen and time.monotonic() < end and process.poll() is None:
        seen = seen[-1000:] + _drain(master, 0.1)
    return wanted in seen


def _drain(master: int, seconds: float) -> bytes:
    """Read for so long."""
    data, end = b"", time.monotonic() + seconds
    while True:
        if not select.select([master], [], [], max(0.0, end - time.monotonic()))[0]:
            return data
        try:
            data += os.read(master, 1 << 16)
        except OSError:
            return data
