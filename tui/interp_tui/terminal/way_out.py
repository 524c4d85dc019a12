"""The one way out of the app: whatever ends it, its terminal is given back, its threads end, and the exit code says why."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

GRACE = 5.0
"""Seconds that leaving may take before the process ends as it is: a thread may be reading from a disk that does not answer."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM") if hasattr(signal, name))
LOST = 129
"""The exit code where the terminal has gone: that of a hang-up, which is what it is."""


class Leavable(Protocol):
    """What the way out needs of the app."""

    on_leave: Callable[[], None]
    _loop: Any

    @property
    def return_code(self) -> int | None: ...

    def exit(self, result: int | None = None, return_code: int = 0, message: Any = None) -> None: ...


class Deadline:
    """Ends the process `GRACE` seconds after `start`, unless it has ended by itself."""

    def __init__(self, app: Leavable) -> None:
        self._app = app
        self._started = threading.Event()
        self._code = 1

    def start(self, code: int = 1) -> None:
        """From any thread or signal handler; only the first call counts. `code` is the exit code if there is none by then."""
        if not self._started.is_set():
            self._started.set()
            self._code = code
            threading.Thread(target=self._wait, name="way-out", daemon=True).start()

    def _wait(self) -> None:
        threading.Event().wait(GRACE)
        driver = getattr(self._app, "_driver", None)
        if driver is not None and hasattr(driver, "give_back"):
            driver.give_back()
        code = self._app.return_code
        os._exit(self._code if code is None else code)


@contextmanager
def leaving(app: Leavable) -> Iterator[None]:
    """While the app runs: a signal ends it as `q` does, with 128 and the signal's number as exit code."""
    deadline = Deadline(app)
    app.on_leave = deadline.start

    def end(number: int, frame: FrameType | None) -> None:
        deadline.start(128 + number)
        loop = app._loop
        if loop is None or not loop.is_running():
            sys.exit(128 + number)
        # the handler runs between any two instructions of the loop's thread, so it asks rather than does
        loop.call_soon_threadsafe(lambda: app.exit(return_code=128 + number))

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
