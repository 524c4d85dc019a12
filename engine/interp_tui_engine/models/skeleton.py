"""A model without its weights: every parameter's name and shape, in moments, whatever the model's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from interp_tui_engine.models import builtin_index, configuration, gguf
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.quiet import quiet


def load_skeleton(source: str, revision: str | None) -> nn.Module:
    """The model's modules on the meta device, from its configuration; the model itself where there is no configuration to build from.

    Raises UserError for whatever `load_model` could not load either.
    """
    folder, file = _folder(source, revision), Path(source).expanduser()
    from_header = revision is None and file.suffix == ".gguf" and file.is_file()
    if folder is None and not from_header:
        return load_model(source, revision=revision, device="cpu").module
    with quiet():
        return configuration.lay_out(source, _folder_config(source, folder) if folder is not None else gguf.read_config(source, file))


def _folder_config(source: str, folder: Path) -> Any:
    return configuration.build(source, folder, configuration.read_config(source, folder), trust=False)


def _folder(source: str, revision: str | None) -> Path | None:
    """The folder whose config.json says all, if this source is one: another source's loader knows best what may be wrong with it."""
    if source in builtin_index.builtin_models():
        builtin_index.weights_path(source, revision)
        return builtin_index.folder_of(source)
    path = Path(source).expanduser()
    if revision is None and (path / "config.json").is_file():
        config = configuration.read_config(source, path)
        configuration.check_causal(source, config, trust=False)
        return path if "auto_map" not in config else None
    return None
