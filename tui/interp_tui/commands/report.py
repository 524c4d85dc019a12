"""`report`: several runs as one page that needs no other file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import out_path, out_text
from .shared import RunsOption, find, run_names


def report(
    run: Annotated[list[str], typer.Argument(metavar="RUN…", help="Run folders, their names, or parts of them.", autocompletion=run_names)],
    file: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this new file instead of stdout.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="What stands at the head of the page.")] = None,
    runs: RunsOption = None,
) -> int:
    """Write runs as one HTML page: answers, differences, reports with figures, and manifests that make each again."""
    from interp_tui_engine import atomic
    from interp_tui_engine.errors import UserError

    from ..export.html import title_of
    from ..export.notebook import notebook

    folders = [find(name, runs) for name in run]
    text = notebook(folders, title or ", ".join(title_of(folder) for folder in folders[:3]))
    if file is None:
        out_text(text)
        return 0
    path = file.expanduser().absolute()
    if path.exists():
        raise UserError(f"file exists: {path}", "name a new one")
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    out_path(path)
    return 0
