"""Whether a manifest's model is where it says, without loading it: what New run says before a run is started. Torch-free."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path

import interp_tui_engine
from interp_tui_engine.catalog import Estimate
from interp_tui_engine.errors import ManifestError, Problem
from interp_tui_engine.manifest import Manifest

WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")

HUB_NAME = re.compile(r"(?:[\w.-]+/)?[\w.-]+", re.ASCII)
"""A model on the Hugging Face hub: `owner/name`, or, of the oldest, the name alone."""


def problem(source: str, revision: str | None, base: Path) -> str:
    """What will keep the model from loading, or an empty string. `base` is where relative paths start."""
    if source.startswith("builtin:"):
        return _builtin_problem(source, revision)
    try:
        path = base / Path(source).expanduser()
        if path.is_dir():
            return "" if (path / "config.json").is_file() else f"{source}: the folder has no config.json"
        if path.is_file():
            return "" if path.suffix == ".gguf" else f"{source} is no model: give a folder written by save_pretrained, or a .gguf file"
    except (OSError, ValueError, RuntimeError) as error:
        return f"{source}: {getattr(error, 'strerror', None) or error}"
    if (path.is_absolute() and Path(source).is_absolute()) or source.startswith((".", "~")) or source.endswith(WEIGHTS):
        return f"{source}: no such file or folder"
    if source.count("/") > 1:
        return f"{source}: no such file or folder"
    if not HUB_NAME.fullmatch(source):
        return f"{source}: no such file or folder, and no model of the hub can be called so"
    return ""


def _builtin_problem(source: str, revision: str | None) -> str:
    folder = Path(interp_tui_engine.__file__).parent / "models" / source.removeprefix("builtin:")
    known = sorted(path.stem for path in folder.glob("*.safetensors"))
    if not known:
        return f"there is no model called {source!r}; builtin:tiny comes with the package"
    if revision is not None and revision not in known:
        close = difflib.get_close_matches(revision, known, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return f"{source} has no revision {revision!r}; {meant}its checkpoints: {', '.join(known)}"
    return ""


def note(source: str, base: Path) -> str:
    """What is worth knowing of a model that is not on this disk: it has to come from the hub, which may be out of reach."""
    if source.startswith("builtin:") or problem(source, None, base) or (base / source).exists() or _cached(source):
        return ""
    return f"{source} is not on this machine: the hub must be reached"


def with_model(cost: Estimate, request: Manifest) -> Estimate:
    """The estimate, with a note where the model has yet to come from the hub. Raises ManifestError where there is no such model."""
    if request.model is None:
        return cost
    source, revision = request.model.source, request.model.revision
    if wrong := problem(source, revision, Path.cwd()):
        raise ManifestError("manifest.toml", [Problem("model.source", wrong)])
    more = note(source, Path.cwd())
    return replace(cost, notes=(*cost.notes, more)) if more else cost


def _cached(source: str) -> bool:
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return (hub / f"models--{source.replace('/', '--')}").is_dir()
