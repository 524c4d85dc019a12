"""What a run's status strip says, from its state and status. Headless."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from interp_tui_engine.numbers import as_finite
from interp_tui_engine.runfolder import ACTIVE, Status

from ..terminal import themes
from ..terminal.host import duration, size
from ..text.numbers import spark_of_percent, thousands
from ..text.sanitise import clean
from ..widgets.status_strip import StripFacts
from .placement import where
from .runstate import RunState

STALE_AFTER = 5.0
"""Seconds without a new status, of which a supervisor writes two a second, until the strip says so."""

BADGES = {
    "queued": "waiting for the worker",
    "stopping": "stopping, with a checkpoint",
    "crashed": "crashed",
}
GONE = "its folder was deleted or moved; this is the last that was read"
GPUS_SHOWN = 2
"""GPUs of a run that its strip shows; the Queue screen has all."""
QUIET_PHASES = {"", "sampling"}
"""Phases that the numbers speak for."""


def strip_facts(
    state: RunState, status: Status, now: float, *, ascii: bool, gone: bool = False, caught_up: float = 1.0, damage: str = ""
) -> StripFacts:
    """The strip of a run as it stands at `now`. Until its log is read (`caught_up` to 1) the status alone says how far it is, since what
    the events say so far is of long ago."""
    if caught_up < 1:
        state = RunState()
    active = status.state in ACTIVE
    silent = now - max(status.updated, state.updated)
    stale = active and status.state != "queued" and silent > STALE_AFTER
    badge = f"no update for {duration(silent) if silent >= 60 else f'{silent:.0f} s'}" if stale else badge_of(status)
    if caught_up < 1 and not stale:
        badge = f"{badge} · reading its log, {caught_up:.0%}".replace("%", " %")
    if gone:
        badge = "folder gone"
    fraction = min(1.0, state.done / state.total) if state.total > 0 else status.fraction if status.total else None
    healthy = [chain.fraction for chain in state.chains() if chain.failure is None]
    if healthy:  # a chain that failed never does the rest of its steps
        fraction = sum(healthy) / len(healthy)
    return StripFacts(
        glyph=themes.glyph(status.state, ascii),
        colour=themes.colour_name(status.state),
        title=tuple(clean(part, limit=40) for part in (status.kind, status.name, status.model, place(status, state.device))),
        badge=badge,
        badge_colour="warn" if stale or gone else themes.colour_name(status.state),
        badge_loud=False,
        fraction=1.0 if status.state == "done" else fraction,
        parts=tuple(_parts(state, status, active=active, ascii=ascii)),
        notice=GONE if gone else damage or clean(_notice(state, status), limit=400),
        notice_colour="bad" if status.state in {"failed", "crashed"} or damage else "warn",
    )


def badge_of(status: Status) -> str:
    """The state in words."""
    return "waits in the queue; Q shows it" if status.in_queue else BADGES.get(status.state, status.state)


def place(status: Status, device: str = "") -> str:
    """Where it runs: the device, and the host where that is another one than this."""
    device = device or status.device
    host = status.owner.host if status.owner is not None and status.state in ACTIVE else ""
    return f"{device or 'runs'} on {host}" if host and host != socket.gethostname() else device


def gpu_text(gpu: Mapping[str, Any], *, ascii: bool, looks: int = 10) -> str:
    """How busy one of a run's GPUs is, of late and now, and how full: 'cuda:0 ▂▅▇█ 87 % 61 GB of 150 GB'. What is damaged is left out."""
    looked = gpu.get("busy")
    busy = [value for value in map(as_finite, looked if isinstance(looked, list) else ()) if value is not None]
    used, total = as_finite(gpu.get("used")), as_finite(gpu.get("total"))
    now = f"{spark_of_percent(busy[-looks:], ascii=ascii)} {busy[-1]:.0f} %" if busy else ""
    memory = f"{size(used)} of {size(total)}" if used is not None and total else ""
    return clean(" ".join(part for part in (str(gpu.get("device") or "GPU"), now, memory) if part), limit=80)


def _parts(state: RunState, status: Status, *, active: bool, ascii: bool) -> list[str]:
    facts = []
    if active and state.phase not in QUIET_PHASES:
        facts.append(clean(f"{state.phase}: {state.phase_detail}" if state.phase_detail else state.phase, limit=60))
    if active and status.cluster:
        facts.append(clean(where(status.cluster), limit=60))
    if state.draws_total:
        facts.append(f"draw {state.fewest_draws():,}/{state.draws_total:,}")
    elif state.total or status.total:
        done, total, unit = (state.done, state.total, state.unit) if state.total else (status.done, status.total, status.unit)
        facts.append(f"{done:,.0f}/{total:,.0f} {clean(unit, limit=20)}")
    eta = state.eta_seconds if state.version else status.eta_seconds
    if active and status.state == "running" and eta is not None:
        facts.append(f"ETA {duration(eta)}")
    if state.ending is not None and not active:
        facts.append(f"took {duration(state.ending.seconds)}")
    speed = state.value("estimate", "tokens_per_second")
    if speed is not None:
        facts.append(f"{thousands(speed)} tok/s")
    if active:
        facts += [gpu_text(gpu, ascii=ascii) for gpu in status.gpus[:GPUS_SHOWN]]
    device, memory = state.value("estimate", "device_memory_bytes"), state.value("estimate", "memory_bytes")
    if device is not None or memory is not None:
        facts.append(f"{size(device)} on device" if device is not None else size(memory))
    if state.warnings:
        facts.append("1 warning" if len(state.warnings) == 1 else f"{len(state.warnings)} warnings")
    return facts


def _notice(state: RunState, status: Status) -> str:
    """Why a run ended as it did, and what to do next; empty while there is nothing to say."""
    if status.unsupervised:
        return "its supervisor is gone, its tasks go on · r takes it over"
    if status.state in ACTIVE or status.state == "done":
        return ""
    reason = str(status.exit.get("reason") or (state.ending.reason if state.ending else "") or status.state)
    advice = str(status.exit.get("advice") or (state.ending.advice if state.ending else ""))
    advice = " · ".join(line.strip() for line in advice.splitlines())
    keys = ""
    if status.resumable:
        tried = status.state != "failed" or state.checkpoint is not None
        keys = "r resumes" if tried else "r tries again from the beginning"
    if keys == "r resumes" and "resume" in advice:
        advice = ""
    at = f"checkpoint at step {state.checkpoint.step:,}" if state.checkpoint is not None and isinstance(state.checkpoint.step, int) else ""
    return " · ".join(part for part in (reason, advice, at, keys) if part)
