"""The spare worker of this process: for a sweep's next point, a pipeline's next step, a run started from the app. Torch-free."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...status import Status
from .spare_process import Spares

COMMAND = (sys.executable, "-P", "-m", "interp_tui_engine.worker")
AHEAD = 60.0
"""Seconds to the end of a child, by its own estimate, from which the next one's worker is got ready: imports take some four."""

spares = Spares(lambda kind: [*COMMAND, "--spare", kind])


def take(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes] | None:
    """The spare, gone to do what the command does; None where that is no worker's or there is none that fits."""
    if tuple(command[: len(COMMAND)]) != COMMAND:
        return None
    return spares.take(command[len(COMMAND) :], environment, Path.cwd(), log)


def is_due(running: Iterable[Status]) -> bool:
    """Whether one of the children that run will end soon. Before that a spare would wait, and its imports compete with theirs."""
    return any(_ends_soon(status) for status in running)


def _ends_soon(status: Status) -> bool:
    if status.state != "running" or not status.total:
        return False
    if status.eta_seconds is None:
        return status.done >= 0.5 * status.total
    return status.eta_seconds <= AHEAD
