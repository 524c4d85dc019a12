"""A model without its weights: every parameter's name and shape, in moments, whatever the model's size."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from interp_tui_engine.models import builtin_index, gguf
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
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet(), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True) if folder is not None else gguf.read_config(file)
        module: nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return module


def _folder(source: str, revision: str | None) -> Path | None:
    """The folder whose config.json says all, if this source is one: another source's loader knows best what may be wrong with it."""
    if source in builtin_index.builtin_models():
        builtin_index.weights_path(source, revision)
        return builtin_index.folder_of(source)
    path = Path(source).expanduser()
    if revision is None and (path / "config.json").is_file() and '"auto_map"' not in (path / "config.json").read_text(encoding="utf-8"):
        from interp_tui_engine.models.pretrained import check_causal, read_config

        check_causal(source, read_config(source, path), trust=False)
        return path
    return None
