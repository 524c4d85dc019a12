"""`load_model`: one door for every source of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models import backends, builtin, gguf, pretrained, tensor_parallel
from interp_tui_engine.models.device import resolve_device
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.models.quiet import quiet

Dtype = Literal["float32", "bfloat16", "float16"]
Backend = Literal["transformers", "transformer_lens", "nnsight"]

_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LOOSE_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl")


def load_model(
    source: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: Dtype = "float32",
    backend: Backend = "transformers",
    trust: bool = False,
    partial: bool = False,
    tensor: int = 1,
) -> LoadedModel:
    """Load a causal language model: `builtin:tiny`, a folder, a .gguf file, or a Hugging Face id.

    `backend` runs the forward pass: transformers itself, or a TransformerBridge or nnsight model around it, found at `native`.
    `revision` is a checkpoint of a builtin model or a git revision of a hub one. `trust` allows pickled weights and a model's own code;
    without it nothing that is loaded can run anything. Weights load whole or not at all, unless `partial` allows tensors that are missing
    (they are random then, the same each time) or have no place. `tensor`: how many ranks of torch.distributed hold the model together
    (`tensor_parallel`); they have been started, and all of them must load it. Says nothing on the terminal.

    Raises UserError for whatever cannot be loaded, with what to do instead.
    """
    source = str(source)
    if dtype not in _DTYPES:
        raise UserError(f"there is no dtype {dtype!r}", f"choose from {', '.join(_DTYPES)}")
    if backend not in get_args(Backend):
        raise UserError(f"there is no backend {backend!r}", f"choose from {', '.join(get_args(Backend))}")
    if backend != "transformers":
        backends.need(backend)
    where = resolve_device(device)
    with quiet():
        model = _load(source, revision, where, _DTYPES[dtype], trust=trust, partial=partial, tensor=tensor)
        if tensor > 1 and not tensor_parallel.is_split(model.module):
            tensor_parallel.split(model.module, tensor)
        return model if backend == "transformers" else backends.drive(backend, model)


def _load(
    source: str, revision: str | None, device: torch.device, dtype: torch.dtype, *, trust: bool, partial: bool, tensor: int
) -> LoadedModel:
    if source.startswith("builtin:"):
        return builtin.load(source, revision, device, dtype)
    path = Path(source).expanduser()
    if path.exists() and revision is not None:
        raise UserError(f"{source} is on disk and has no revisions, so revision = {revision!r} means nothing", "leave revision out")
    if path.is_dir():
        return pretrained.load_folder(source, path, None, device, dtype, trust=trust, partial=partial, tensor=tensor)
    if path.suffix == ".gguf" and path.is_file():
        return gguf.load(source, path, device, dtype, partial=partial)
    if path.is_file():
        if path.suffix in _LOOSE_WEIGHTS:
            raise UserError(f"{source} holds weights without a configuration", f"give the folder with its config.json: {path.parent}")
        raise UserError(f"{source} is no model", "give a folder written by save_pretrained, or a .gguf file")
    if path.is_absolute() or source.startswith((".", "~")) or path.suffix in (*_LOOSE_WEIGHTS, ".gguf") or source.count("/") > 1:
        raise UserError(f"{source}: no such file or folder", "relative paths start at the manifest's folder")
    return pretrained.load_hub(source, revision, device, dtype, trust=trust, partial=partial, tensor=tensor)
