"""What tests of runs on Slurm share: a request of two tasks, a run that is supervised beside the test, and waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scripted_workers import SHARED, told

from interp_tui_engine import supervisor
from interp_tui_engine.events import Warned
from interp_tui_engine.runfolder import RunFolder, Status

REQUEST = SHARED.replace('devices = ["cpu", "cpu"]', 'executor = "slurm"\n[compute.slurm]\ntasks = 2\n')
ONCE = """
first = not (shard / "tried").exists()
(shard / "tried").touch()
"""
"""Begins a worker script that does something else when it is tried again."""


class Supervised:
    """A run that is supervised on a thread of its own."""

    def __init__(self, folder: RunFolder) -> None:
        self._ended: list[Status] = []
        self._thread = threading.Thread(target=lambda: self._ended.append(supervisor.supervise(folder)), daemon=True)
        self._thread.start()

    def end(self) -> Status:
        self._thread.join(200)
        assert self._ended, "it has not ended"
        return self._ended[0]


def until(true: Callable[[], object], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def warned(folder: RunFolder) -> list[str]:
    return [stamped.event.message for stamped in told(folder) if isinstance(stamped.event, Warned)]
