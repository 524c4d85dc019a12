"""`locate`: where things live on this machine."""

from __future__ import annotations

from pathlib import Path

from .output import columns, out, out_json
from .shared import JsonOption, RunsOption


def locate(runs: RunsOption = None, json: JsonOption = False) -> int:
    """Print where config, themes, runs, models and logs live."""
    folders = places(runs)
    if json:
        out_json({name: str(path) for name, path in folders.items()})
        return 0
    for line in columns((name, str(path), "" if path.exists() else "(not there yet)") for name, path in folders.items()):
        out(line)
    return 0


def places(runs: Path | None = None) -> dict[str, Path]:
    """Each folder by name, whether it exists or not."""
    import os

    from platformdirs import user_log_path

    import interp_tui_engine
    from interp_tui_engine.runfolder import runs_root

    from ..terminal.themes import config_folder, theme_folders

    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
    return {
        "config": config_folder(),
        **{f"themes{' (shipped)' if number == 0 else ''}": folder for number, folder in enumerate(theme_folders())},
        "runs": runs_root(runs),
        "builtin model": Path(interp_tui_engine.__file__).parent / "models" / "tiny",
        "hub models": Path(hub).expanduser(),
        "log": user_log_path("interp-tui"),
        "skill for agents": Path(__file__).parents[1] / "SKILL.md",
    }
