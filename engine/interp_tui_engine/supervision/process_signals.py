"""Signals to a supervisor, noted down to be acted on between steps: a handler may interrupt any line. Torch-free."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import Any

from ..runfolder import Command

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""The last is what a scheduler sends before the time limit of a task."""


def interrupted(seen: list[int], asked: list[str]) -> list[Command]:
    """What signals have asked for since the last look: the first one to stop with a checkpoint, a second one to stop at once."""
    count, seen[:] = len(seen), []
    orders: list[Command] = []
    for _ in range(count):
        orders.append("kill" if "stop" in [*asked, *orders] else "stop")
    return orders


@contextmanager
def signals(seen: list[int]) -> Any:
    """While inside, SIGINT and SIGTERM are added to `seen`, and a hang-up is ignored: a lost terminal never ends a run."""
    try:
        before = {number: signal.signal(number, lambda signum, _: seen.append(signum)) for number in STOP_SIGNALS}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
