"""An event as one line of plain words, for the log tab. Headless."""

from __future__ import annotations

import time

from interp_tui_engine.events import (
    ArrayWritten,
    Artifact,
    ChainFailed,
    Checkpoint,
    Phase,
    RunFinished,
    RunStarted,
    Stamped,
    Unknown,
    Warned,
)

from .numbers import duration, headline
from .sanitise import clean


def narrate(stamped: Stamped) -> tuple[str, str, str]:
    """Time of day, what happened, and the theme variable to say it in; sanitised."""
    try:
        when = time.strftime("%H:%M:%S", time.localtime(stamped.t))
    except (OverflowError, ValueError, OSError):
        when = "--:--:--"
    text, colour = _said(stamped)
    return when, clean(text, limit=2000), colour


def _said(stamped: Stamped) -> tuple[str, str]:
    match stamped.event:
        case RunStarted(kind, name, device, resumed):
            return f"{'resumed' if resumed else 'started'}: {kind} {name}" + (f" on {device}" if device else ""), "accent"
        case Phase(name, detail):
            return f"{name}: {detail}" if detail else f"{name}", "foreground"
        case ChainFailed(chain, step, cause):
            return f"chain {chain} failed at step {step}: {cause}; left out of every estimate", "bad"
        case Warned(message):
            return f"warning: {message}", "warn"
        case Checkpoint(_, step):
            return f"checkpoint at step {step}", "muted"
        case ArrayWritten(path, _, shape, written):
            size = " × ".join(str(n) for n in shape) if isinstance(shape, (list, tuple)) else ""
            return f"array {path}" + (f" {size}" if size else "") + (f", {written} written" if written is not None else ""), "muted"
        case Artifact(path, title):
            return f"file {path}" + (f": {title}" if title else ""), "muted"
        case RunFinished(state, seconds, values, reason, advice):
            took = f" after {duration(float(seconds))}" if isinstance(seconds, (int, float)) else ""
            numbers = f": {headline(values)}" if isinstance(values, dict) and values else ""
            why = f": {reason}" if reason else ""
            return f"{state}{took}{numbers}{why}" + (f"; {advice}" if advice else ""), "good" if state == "done" else "bad"
        case Unknown(fields):
            return f"event of a newer version: {fields.get('type')}", "muted"
        case event:
            return event.type, "muted"
