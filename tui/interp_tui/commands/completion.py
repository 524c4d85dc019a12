"""`completion`: tab completion for the shell."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .output import out_path, say

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
VARIABLE = "_INTERP_TUI_COMPLETE"


def completion(
    shell: Annotated[str | None, typer.Argument(metavar="[SHELL]", help="bash, zsh, fish or pwsh; yours when left out.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Install it for this shell instead of printing it.")] = False,
) -> int:
    """Print or install tab completion for a shell."""
    import os
    from importlib import import_module
    from pathlib import Path

    typer_completion: Any = import_module("typer.completion")  # which names it exports changes from release to release

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
