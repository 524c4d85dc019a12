"""Where the user's settings and the program's own state live. Torch-free, and without pydantic: the app asks before its first paint."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def config_folder() -> Path:
    """Where the user's settings live: $INTERP_TUI_CONFIG, else the platform's own place."""
    given = os.environ.get("INTERP_TUI_CONFIG")
    return Path(given).expanduser() if given else platformdirs.user_config_path("interp-tui")


def state_folder() -> Path:
    """Where the program keeps what it has found out and what waits: $INTERP_TUI_STATE, else the platform's own place for state."""
    given = os.environ.get("INTERP_TUI_STATE")
    return Path(given).expanduser() if given else platformdirs.user_state_path("interp-tui")


def queue_file() -> Path:
    """The runs that wait for a device of this machine; there is none where nobody ever used the queue."""
    return state_folder() / "queue" / "queue.json"
