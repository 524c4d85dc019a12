"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder

RunsOption = Annotated[Path | None, typer.Option("--runs", metavar="DIR", help="Where run folders live [$INTERP_TUI_RUNS or ./runs].")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="Override a key, as in params.lr=1e-5; may be repeated.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="Plain lines, as in a pipe.")]

TrustOption = Annotated[bool, typer.Option("--trust", help="Let the model run code of its own, and open pickled weights.")]


def run_names(incomplete: str) -> list[str]:
    """Shell completion: the names of the runs under the default root."""
    from interp_tui_engine.runfolder import find_runs, runs_root

    return [run.path.name for run in find_runs(runs_root()) if run.path.name.startswith(incomplete)]


def kind_names(incomplete: str) -> list[str]:
    """Shell completion: the kinds."""
    from interp_tui_engine import catalog

    return [name for name in catalog.kind_names() if name.startswith(incomplete)]


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, its name, or part of it.", autocompletion=run_names)]


def find(run: str, runs: Path | None) -> RunFolder:
    """The run folder that is meant."""
    from interp_tui_engine.runfolder import find_run, runs_root

    return find_run(runs_root(runs), run)
