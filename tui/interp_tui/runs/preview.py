"""What the preview of a run is made of, read from its folder in bounded time however long its log. Headless."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp_tui_engine.events import ChainFailed, Metrics, RunFinished, Warned, from_line
from interp_tui_engine.numbers import as_finite as finite
from interp_tui_engine.untrusted import open_regular

from .session import Run, result_damage

WHOLE = 1 << 20
"""Logs up to this size are read whole; of longer ones, evenly spaced blocks."""
BLOCKS = 48
BLOCK = 12 << 10


@dataclass(frozen=True)
class Preview:
    """The loss over the run so far, and what went wrong in it."""

    loss: tuple[float, ...] = ()
    over_chains: bool = False
    """Whether each of them is a mean over chains."""
    failed_chains: tuple[str, ...] = ()
    warning: str = ""
    seconds: float | None = None
    """How long the run took, as its last event says: what its own screen and `show` give too."""


def read(run: Run) -> Preview:
    """Blocking: call it from a thread."""
    if run.status.state == "done" and (damage := result_damage(run.folder, run.folder.result())):
        return Preview(warning=damage)
    losses: dict[int, float] = {}
    failures: dict[int, str] = {}
    warning, seconds, over_chains = "", None, False
    for line in _lines(run.folder.events_path):
        try:
            event = from_line(line).event
        except ValueError:
            continue
        if isinstance(event, Metrics) and event.series != "headline":
            stated = event.values.get("loss") if isinstance(event.values, dict) else None
            loss = _mean(stated)
            if loss is not None and isinstance(event.step, int):
                losses[event.step] = loss
                over_chains |= isinstance(stated, list)
        elif isinstance(event, ChainFailed):
            failures[event.chain] = f"chain {event.chain} at step {event.step}: {event.cause}"
        elif isinstance(event, Warned):
            warning = str(event.message)
        elif isinstance(event, RunFinished):
            seconds = finite(event.seconds)
    return Preview(tuple(losses[step] for step in sorted(losses)), over_chains, tuple(failures.values()), warning, seconds)


def _lines(path: Path) -> list[bytes]:
    """Whole lines of the log, all or an even sample."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= WHOLE:
                return file.read().splitlines()
            lines: list[bytes] = []
            for block in range(BLOCKS):
                file.seek((size - BLOCK) * block // (BLOCKS - 1))
                lines += file.read(BLOCK).split(b"\n")[1:-1]
            return lines
    except (OSError, ValueError):
        return []


def _mean(value: Any) -> float | None:
    """The mean over chains of one step's loss, of those that are numbers."""
    values = value if isinstance(value, list) else [value]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
    return sum(numbers) / len(numbers) if numbers else None
