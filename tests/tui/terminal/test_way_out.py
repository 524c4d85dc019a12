"""In a real terminal: how the app ends by a signal, the loss of its terminal or a fault of its own, and how it comes back from a stop."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

LEAVES = b"\x1b[?1049l"
ENTERS = b"\x1b[?1049h"
MOUSE_OFF = b"\x1b[?1003l"
OPEN = """
import signal, sys, threading
from pathlib import Path
from interp_tui import app as module
from interp_tui.terminal import way_out
from interp_tui.app import InterpApp, run_app
{}
sys.exit(run_app(Path("runs")))
"""
WAIT = 60.0


class Terminal:
    """A program in a terminal of its own, and what it has written there."""

    def __init__(self, script: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True
        )
        os.close(slave)
        self.written = b""

    def until(self, wanted: bytes, times: int = 1) -> None:
        """Read until the program has written these bytes so often."""
        end = time.monotonic() + WAIT
        while self.written.count(wanted) < times:
            assert time.monotonic() < end, f"{wanted!r} was not written: {self.written[-600:]!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.written += os.read(self.master, 1 << 16)
                except OSError:
                    break
        assert self.written.count(wanted) >= times, self.written[-600:]

    def code(self) -> int:
        """Its exit code, once it has ended; what it writes until then is read."""
        end = time.monotonic() + WAIT
        while self.process.poll() is None:
            assert time.monotonic() < end, "the program does not end"
            if self.master >= 0 and select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.written += os.read(self.master, 1 << 16)
                except OSError:
                    self.hang_up()
            elif self.master < 0:
                time.sleep(0.05)
        return self.process.returncode

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            self.hang_up()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def opened(terminals: list[Terminal], first: str = "pass") -> Terminal:
    terminal = Terminal(OPEN.format(first))
    terminals.append(terminal)
    terminal.until(b"No runs yet")
    return terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(terminals: list[Terminal], number: signal.Signals) -> None:
    terminal = opened(terminals)
    terminal.process.send_signal(number)
    assert terminal.code() == 128 + number
    assert LEAVES in terminal.written and MOUSE_OFF in terminal.written and b"\x1b[?25h" in terminal.written


def test_a_terminal_that_vanishes_ends_the_app(terminals: list[Terminal]) -> None:
    terminal = opened(terminals, "way_out.SIGNALS = (); signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    terminal.hang_up()  # and no signal says so
    assert terminal.code() == 129


def test_a_terminal_that_takes_nothing_does_not_hold_the_app(terminals: list[Terminal]) -> None:
    busy = "module.HEADER_EVERY = 0.01; InterpApp.refresh_header = lambda self: self._driver and self._driver.write('x' * 20_000)"
    terminal = opened(terminals, busy)
    time.sleep(1.0)  # nothing is read: the terminal's buffer and the writing thread's queue fill up
    terminal.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + WAIT
    while terminal.process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    assert terminal.process.returncode == 128 + signal.SIGTERM


def test_a_crash_says_where_its_log_is_and_shows_no_values(terminals: list[Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(Path.cwd() / "state"))
    fails = "InterpApp.survive = lambda *a: False; InterpApp.action_help = lambda self: [secret := 'kept to itself', 1 / 0]"
    terminal = opened(terminals, fails)
    os.write(terminal.master, b"?")
    assert terminal.code() == 1
    last = terminal.written.rpartition(LEAVES)[2].decode()
    assert "interp-tui crashed: ZeroDivisionError: division by zero; log at " in last
    assert "secret" not in last and "kept to itself" not in last and "Traceback" not in last
    (log,) = Path.cwd().rglob("error.log")
    assert "ZeroDivisionError" in log.read_text()


def test_a_fault_before_anything_is_drawn_is_no_quiet_end(terminals: list[Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(Path.cwd() / "state"))
    terminal = Terminal(OPEN.format("InterpApp._ready = lambda self: 1 / 0"))
    terminals.append(terminal)
    assert terminal.code() == 1
    assert "interp-tui crashed: ZeroDivisionError" in terminal.written.rpartition(LEAVES)[2].decode()


def test_ctrl_z_leaves_the_terminal_and_coming_back_draws_it_whole(terminals: list[Terminal]) -> None:
    terminal = opened(terminals)
    os.write(terminal.master, b"\x1a")
    terminal.until(LEAVES)
    _stopped(terminal.process.pid)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(ENTERS, 2)
    terminal.until(b"No runs yet", 2)
    os.write(terminal.master, b"q")
    assert terminal.code() == 0


def test_a_plain_stop_leaves_one_reader_of_keys(terminals: list[Terminal]) -> None:
    lists = "InterpApp.action_help = lambda self: Path('threads').write_text(' '.join(t.name for t in threading.enumerate()))"
    terminal = opened(terminals, lists)
    terminal.process.send_signal(signal.SIGSTOP)
    _stopped(terminal.process.pid)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(b"No runs yet", 2)
    os.write(terminal.master, b"?")
    os.write(terminal.master, b"q")
    assert terminal.code() == 0
    names = Path("threads").read_text().split()
    assert names.count("textual-input") == 1 and names.count("textual-output") == 1


def _stopped(pid: int) -> None:
    import psutil

    end = time.monotonic() + WAIT
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < end, "the program does not stop"
        time.sleep(0.02)
