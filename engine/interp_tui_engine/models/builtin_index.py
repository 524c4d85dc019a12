"""Which models come with the package and at which points of their training. Imports no torch, so that forms and errors can list them."""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from interp_tui_engine.errors import UserError

FINAL = "final"
_FOLDERS = {"builtin:tiny": Path(__file__).parent / "tiny"}


def builtin_models() -> list[str]:
    """The sources that need neither file nor network."""
    return list(_FOLDERS)


def folder_of(source: str) -> Path:
    """The folder with the weights, configuration and tokenizer of a builtin model. Raises UserError for a name that there is not."""
    if source not in _FOLDERS:
        raise UserError(f"there is no model called {source!r}", f"choose from {', '.join(_FOLDERS)}")
    return _FOLDERS[source]


@cache
def steps(source: str) -> dict[str, int]:
    """Checkpoint name -> optimiser steps taken before it, in the order of training."""
    index = json.loads((folder_of(source) / "checkpoints.json").read_text())
    return {str(name): int(entry["step"]) for name, entry in index.items()}


def revisions(source: str) -> list[str]:
    """Checkpoint names in the order of training; the last one is what loads when none is named."""
    return list(steps(source))


def weights_path(source: str, revision: str | None) -> Path:
    """The safetensors file of a checkpoint; UserError, with the nearest name, where there is no such checkpoint."""
    name = revision or FINAL
    names = revisions(source)
    if name not in names:
        near = get_close_matches(name, names, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{source} has no revision {name!r}", f"{meant}its checkpoints: {', '.join(names)}")
    return folder_of(source) / f"{name}.safetensors"
