"""ctrl+z in a headless run gives the shell a terminal with a cursor, and fg takes it back."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SHOWN, HIDDEN = b"\x1b[?25h", b"\x1b[?25l"
WAIT = 60.0
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from interp_tui.commands.progress_display import RichDisplay
from interp_tui_engine.runfolder import RunFolder
with RichDisplay(RunFolder(Path(sys.argv[1])), Console(force_terminal=True)):
    sys.stdin.readline()
"""


def test_the_cursor_is_there_while_a_headless_run_is_stopped(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdin=slave, stdout=slave, stderr=slave, env=environment, process_group=0
    )
    os.close(slave)
    try:
        _until(master, HIDDEN)
        process.send_signal(signal.SIGTSTP)
        _until(master, SHOWN)
        _wait(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGCONT)
        _until(master, HIDDEN)
        os.write(master, b"\n")
        _until(master, SHOWN)
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        os.close(master)


def _until(master: int, wanted: bytes) -> None:
    written, end = b"", time.monotonic() + WAIT
    while wanted not in written:
        assert time.monotonic() < end, written
        written += os.read(master, 4096)


def _wait(true: object) -> None:
    end = time.monotonic() + WAIT
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)
