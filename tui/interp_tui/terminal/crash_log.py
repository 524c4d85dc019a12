"""Where the details of a fault of this program go: a file that whoever reports it can send."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime

DEBUG = "INTERP_TUI_DEBUG"
"""With 1 in this variable a fault is shown with its traceback, and nothing goes on after it."""
LOG_BYTES = 1 << 20
"""Beyond this size the log begins anew; a program that fails over and over must not fill the disk."""


def debugging() -> bool:
    """Whether faults are to be shown with their tracebacks."""
    return os.environ.get(DEBUG) == "1"


def record(fault: BaseException) -> str:
    """Write the traceback, without the values of variables; returns where to, or how to see it where nothing could be written."""
    from platformdirs import user_log_path

    try:
        path = user_log_path("interp-tui", ensure_exists=True) / "error.log"
        small = path.exists() and path.stat().st_size < LOG_BYTES
        with path.open("a" if small else "w", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}\n")
            log.writelines(traceback.format_exception(fault))
    except OSError:
        return f"{DEBUG}=1 shows them"
    return str(path)
