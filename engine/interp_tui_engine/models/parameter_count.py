"""How many parameters a model has, from the headers of its files, before anything is loaded. Torch-free."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from math import prod
from pathlib import Path

from interp_tui_engine import untrusted
from interp_tui_engine.errors import UserError
from interp_tui_engine.models import builtin_index, weight_files

_LONGEST_HEADER = 100 << 20
_BYTES_OF_PICKLES = 2
"""A parameter, in most of them."""


def parameter_count(source: str, revision: str | None = None) -> int | None:
    """Parameters of a builtin model, a folder, a .gguf file, or a hub model that is in the hub's cache on this machine.

    None where the files are elsewhere, or are none that a model can be loaded from: loading says what is wrong with them. Pickles, which
    have no header that is safe to read, are taken for two bytes a parameter, a .gguf file whose tensors cannot be told for one.
    """
    try:
        if source in builtin_index.builtin_models():
            return _of_safetensors([builtin_index.weights_path(source, revision)])
        path = Path(source).expanduser()
        if path.is_file():
            return _of_gguf(str(path), path.stat().st_mtime_ns)
        folder = path if path.is_dir() else cached_snapshot(source, revision)
        return None if folder is None else _of_folder(source, folder)
    except (UserError, OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def cached_snapshot(source: str, revision: str | None = None) -> Path | None:
    """The folder that the hub's cache on this machine holds of a model, without asking the hub; None where it has none."""
    from huggingface_hub import constants

    store = Path(constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}"
    name = revision or "main"
    if ".." in Path(name).parts or ".." in Path(source).parts:
        return None
    named = untrusted.text_or_empty(store / "refs" / name, 64).strip()
    folder = store / "snapshots" / (named or name)
    return folder if folder.is_dir() else None


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file: eight bytes of length, then JSON. Raises ValueError or struct.error for another file."""
    with untrusted.open_regular(path) as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _LONGEST_HEADER:
            raise ValueError(f"{path} has no safetensors header")
        table = untrusted.parse_json(file.read(length))
    if not isinstance(table, dict):
        raise ValueError(f"{path} has no safetensors header")
    return {str(name): tuple(about["shape"]) for name, about in table.items() if name != "__metadata__"}


def _of_safetensors(paths: Iterable[Path]) -> int:
    return sum(prod(shape) for path in paths for shape in safetensors_shapes(path).values())


def _of_folder(source: str, folder: Path) -> int:
    files = weight_files.of_folder(source, folder, trust=True)
    return _of_safetensors(files.paths) if files.safe else sum(path.stat().st_size for path in files.paths) // _BYTES_OF_PICKLES


@lru_cache(maxsize=4)
def _of_gguf(path: str, stamp: int) -> int:
    """Of the file as it was at `stamp`."""
    from interp_tui_engine.models.gguf_header import read_header

    try:
        count = sum(prod(shape) for shape in read_header(Path(path)).shapes().values())
    except ImportError:  # the package that knows the types of tensors is an extra
        count = 0
    return count or Path(path).stat().st_size
