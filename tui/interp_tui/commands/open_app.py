"""`interp-tui` and `interp-tui RUN_FOLDER`: the app."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from .shared import RunsOption


def open_(run: Annotated[str | None, typer.Argument(help="A run folder.")] = None, runs: RunsOption = None) -> int:
    """Open the app, on a run if one is given."""
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.runfolder import find_run, runs_root

    root = runs_root(runs)
    folder = find_run(root, run).path if run else None
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise UserError(
            "the app needs a terminal", "interp-tui --batch M.toml runs without one; interp-tui attach RUN --plain watches a run"
        )
    from ..app import run_app

    return run_app(root, Path(folder) if folder else None, once_listed=keep_queue_going)


def keep_queue_going() -> None:
    """Start what waits for a device, beside the app: it asks the driver and waits for what it starts."""
    from .queue import pass_by

    threading.Thread(target=pass_by, name="queue", daemon=True).start()
