"""What a worker has been asked to do, and that it does it: also in the middle of reading a file that never ends. Torch-free.

Work asks between its steps (`poll`), saves a checkpoint when it is to stop, and ends. Some of what a run does has no steps to ask between:
reading data, loading a model, a resampling that was asked for a billion times. Beside the work a thread looks at the same orders. When a
stop has stood for a while unasked, it interrupts the main thread by an exception, and if that is not enough ends the process. Work that is
interrupted may save what it has (it asks once more, and is let alone from then on). Checkpoints are renamed into place whole, so that at
any moment the last one is there to go on from.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import final

from .. import atomic
from ..runfolder import take_commands
from ..status import started_by
from .context import Interrupted, Order

STOPPED = {
    "state": "interrupted",
    "reason": "stopped in the middle of a step",
    "advice": "resume goes on from the last checkpoint, or begins again where there is none yet",
}


@final
class Orders:
    """The orders in force: from the files in `control`, from a signal, or because the supervisor is gone."""

    PATIENCE = 2.0
    """Seconds that work may go on after a stop before it is interrupted. Work in steps of that length saves the steps it has taken."""
    GRACE = 2.5
    """Seconds from the interruption to the end of the process: one operation may take that long before it hears, and all is within five."""
    STARVED = 4
    """Times GRACE that a process may take which gets so little of a busy machine that it has computed for less than half of GRACE."""
    LOOK = 0.1

    def __init__(self, control: Path) -> None:
        self._control = control
        self._parent = started_by()
        self._lock = threading.Lock()
        self._stop = self._paused = self._checkpoint = False
        self._stopping_since: float | None = None
        self._answered = False
        """Whether the work has been told to stop: from then on it may take its time to save."""
        self._done = threading.Event()
        self.interrupting = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):  # a scheduler sends the last before the time limit
            signal.signal(number, lambda *_: self.stop())
        signal.signal(signal.SIGUSR2, self._interrupt)

    def stop(self) -> None:
        self._stop = True

    def poll(self) -> Order:
        """The order in force. A checkpoint is asked for once; stop stays; pause holds until resume."""
        self._take()
        if self._stop:
            self._answered = True
            return "stop"
        if self._checkpoint:
            self._checkpoint = False
            return "checkpoint"
        return "pause" if self._paused else "go"

    @property
    def unwatched(self) -> bool:
        """Whether the process that started this one is gone."""
        return os.getppid() != self._parent

    def watch(self, exit_path: Path, started: float) -> None:
        """Begin to see to it that a stop is obeyed; where nothing else helps, `exit_path` gets the record of how the process ended."""
        threading.Thread(target=self._watch, args=(exit_path, started), name="orders", daemon=True).start()

    def done(self) -> None:
        """The work has ended: nothing is interrupted any more."""
        self._done.set()

    def _take(self) -> None:
        with self._lock:
            for command in take_commands(self._control):
                self._stop |= command == "stop"
                self._checkpoint |= command == "checkpoint"
                if command in ("pause", "resume"):
                    self._paused = command == "pause"
            self._stop |= self.unwatched

    def _watch(self, exit_path: Path, started: float) -> None:
        computed = 0.0
        while not self._done.wait(self.LOOK):
            self._take()
            now = time.monotonic()
            if not self._stop or self._answered:
                continue
            self._stopping_since = self._stopping_since or now
            waited = now - self._stopping_since
            if waited < self.PATIENCE:
                continue
            if not self.interrupting:
                self.interrupting, computed = True, time.process_time()
                os.kill(os.getpid(), signal.SIGUSR2)
            elif waited > self.PATIENCE + self.GRACE * (1 if time.process_time() - computed > self.GRACE / 2 else self.STARVED):
                record = STOPPED | {"seconds": time.time() - started, "pid": os.getpid()}
                try:
                    atomic.write_json(exit_path, record)
                finally:
                    os._exit(130)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # a signal that somebody else has sent asks for nothing
        if self.interrupting and not self._answered and not self._done.is_set():
            raise Interrupted
