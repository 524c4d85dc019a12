"""Where the details of a fault of this program go: a file that whoever reports it can send."""

from __future__ import annotations

import os
import traceback

DEBUG = "INTERP_TUI_DEBUG"
"""With 1 in this variable a fault is shown with its traceback, and nothing goes on after it."""


def debugging() -> bool:
    return os.environ.get(DEBUG) == "1"


def record(fault: BaseException) -> str:
    """Write the traceback; returns where to, or how to see it where nothing could be written."""
    from platformdirs import user_log_path

    try:
        path = user_log_path("interp-tui", ensure_exists=True) / "error.log"
        path.write_text("".join(traceback.format_exception(fault)), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"{DEBUG}=1 shows them"
    return str(path)
