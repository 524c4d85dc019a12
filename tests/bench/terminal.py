"""A program in a pseudo-terminal: what it has drawn so far, when, and at what cost."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

_CONTROL = re.compile(
    rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP.*?\x1b\\|\x1b\[[0-9;?:<=>]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]|\x1b[=>78c]", re.DOTALL
)


class Terminal:
    """A child whose terminal we are, 140×40. Use as a context manager; the child is hung up on at the end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self.started = time.perf_counter()
        self._child = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm-256color"}, cwd=cwd, start_new_session=True
        )
        os.close(slave)
        self._raw = b""

    def wait_for(self, wanted: str | None, timeout: float, since: int = 0) -> float:
        """The moment when `wanted` (any visible text when None) stands in what was drawn since byte `since`; perf_counter seconds.

        Raises TimeoutError, with the end of what was drawn.
        """
        deadline = time.perf_counter() + timeout
        while (left := deadline - time.perf_counter()) > 0:
            if self._has(wanted, since):
                return time.perf_counter()
            if not self._read(min(left, 0.25)) and self._child.poll() is not None:
                break
        raise TimeoutError(f"{wanted!r} was not drawn within {timeout:.0f} s; drawn last: {self.text()[-300:]!r}")

    def idle(self, seconds: float) -> None:
        """Keep reading for so long."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self._read(left)

    def cpu(self) -> float:
        """Processor seconds the child has used: what remains of a time when a busy machine is taken out of it."""
        times = psutil.Process(self._child.pid).cpu_times()
        return times.user + times.system

    def peak_bytes(self) -> int:
        """The most memory the child has had resident so far; where the system does not keep that, what it has now."""
        try:
            with Path(f"/proc/{self._child.pid}/status").open(encoding="ascii") as file:
                return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return int(psutil.Process(self._child.pid).memory_info().rss)

    @property
    def drawn(self) -> int:
        """Bytes drawn so far."""
        return len(self._raw)

    def press(self, keys: str) -> float:
        """Type; returns when."""
        os.write(self._master, keys.encode())
        return time.perf_counter()

    def text(self, since: int = 0) -> str:
        """What was drawn, without control sequences."""
        return _CONTROL.sub(b"", self._raw[since:]).decode(errors="replace")

    def _has(self, wanted: str | None, since: int) -> bool:
        text = self.text(since)
        return wanted in text if wanted is not None else any(c.isprintable() and not c.isspace() for c in text)

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return False
        try:
            got = os.read(self._master, 1 << 16)
        except OSError:  # the child has closed its end
            return False
        self._raw += got
        return bool(got)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number in (signal.SIGHUP, signal.SIGKILL):
            if self._child.poll() is None:
                self._child.send_signal(number)
                try:
                    self._child.wait(3)
                except subprocess.TimeoutExpired:
                    continue
        os.close(self._master)
