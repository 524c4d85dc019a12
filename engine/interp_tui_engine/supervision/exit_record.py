"""How a worker ended, from its exit code and what it could still write down. Torch-free."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from .. import atomic, storage_faults, untrusted
from ..atomic import DISK_FULL, disk_is_full
from ..status import State
from .executors.executor import Loss

DEAF = "deaf"
"""Stands among the orders of a worker that was ended since it took none."""

RESUME = "resume goes on from the last checkpoint"


def exit_record_of(code: int, written: dict[str, Any], asked: list[str], log: Path) -> tuple[State, dict[str, Any]]:
    """State and exit record of a worker that ended with `code` and, if it could, left `said` in its exit.json."""
    if written and code >= 0:
        state: State = written.get("state", "failed")
        record = {"code": code, "signal": None, "reason": written.get("reason", ""), "advice": written.get("advice", "")}
        return state, record | {key: True for key in ("bad_input", "elsewhere") if written.get(key)}
    if code == DISK_FULL:
        return "failed", disk_full(log.parent)
    if DEAF in asked and "kill" not in asked:
        reason = "the worker took no orders, as while it starts on a busy machine, and was ended"
        return "interrupted", {"code": code, "signal": "SIGKILL", "reason": reason, "advice": RESUME}
    if "kill" in asked:
        return "interrupted", {"code": code, "signal": "SIGKILL", "reason": "killed on request", "advice": RESUME}
    if code < 0:
        name = signal.Signals(-code).name
        likely = " (out of memory?)" if name == "SIGKILL" else ""
        return "crashed", {
            "code": code,
            "signal": name,
            "reason": f"the worker was ended by {name}{likely}",
            "advice": RESUME,
        }
    last = next(iter(untrusted.last_lines(log, 1)), "no output")[:300]
    return "crashed", {"code": code, "signal": None, "reason": f"the worker ended with code {code}: {last}", "advice": f"see {log.name}"}


def loss_record(loss: Loss, written: dict[str, Any], asked: list[str]) -> tuple[State, dict[str, Any]]:
    """State and exit record of a task that its scheduler lost; what it could still write down says whether there is a checkpoint."""
    if {"stop", "kill"} & set(asked):
        reason = str(written.get("reason") or ("killed on request" if "kill" in asked else "stopped before it had a place to run"))
        return "interrupted", {"code": 130, "signal": None, "reason": reason, "advice": RESUME}
    interrupted = loss.cancelled or written.get("state") == "interrupted"
    record = {"code": 130 if interrupted else 1, "signal": None, "reason": loss.reason, "advice": loss.advice}
    return "interrupted" if interrupted else "crashed", record


def storage_fault(error: OSError, run: Path) -> dict[str, Any] | None:
    """The exit record of a run whose folder cannot be written any more; None for an error of another kind."""
    explanation = storage_faults.explained(error, run)
    if explanation is None:
        return None
    return {"code": DISK_FULL if disk_is_full(error) else 1, "signal": None, "reason": explanation[0], "advice": explanation[1]}


def disk_full(run: Path) -> dict[str, Any]:
    """The exit record of a run (or a shard of one) that found no space in its folder."""
    return {"code": DISK_FULL, "signal": None, "reason": "the disk is full", "advice": atomic.after_full_disk(run)}
