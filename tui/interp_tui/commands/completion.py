"""`completion`: tab completion for the shell."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer

from .output import out_path, say

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
VARIABLE = "_INTERP_TUI_COMPLETE"


def answer_the_shell() -> None:
    """Teach typer the shells, if a shell is asking; it does so itself only for programs with its own completion options."""
    if VARIABLE in os.environ:
        _typer_completion().completion_init()


def _typer_completion() -> Any:
    return import_module("typer.completion")  # which names it exports changes from release to release


def completion(
    shell: Annotated[str | None, typer.Argument(metavar="SHELL", help="bash, zsh, fish or pwsh; yours when left out.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Install it for this shell instead of printing it.")] = False,
) -> int:
    """Print or install tab completion for a shell."""
    from pathlib import Path

    typer_completion = _typer_completion()

    from interp_tui_engine.errors import UserError

    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        raise UserError(f"no completion for the shell {chosen!r}", f"one of {', '.join(SHELLS)}")
    if install:
        name, path = typer_completion.install(shell=chosen, prog_name="interp-tui", complete_var=VARIABLE)
        say(f"{name} completion installed; it takes effect in a new terminal")
        out_path(Path(path))
        return 0
    typer.echo(typer_completion.get_completion_script(prog_name="interp-tui", complete_var=VARIABLE, shell=chosen))
    return 0
