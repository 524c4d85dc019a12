"""What stands at the head of files that a run reads: enough to see that a file is not what it is given as. Torch-free.

Readers raise UserError. Of files that may be long the first lines are read: a form checks its manifest at every key.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..data import builtin, files
from ..errors import UserError
from ..features.records import RecordReader
from ..specs import DataSpec

ROWS = 64
"""Records that are read to see whether they are records."""


def scored_records(path: Path, model: str | None) -> None:
    """The first activation records, whose scores count."""
    next(RecordReader([path], model=model).blocks(ROWS), None)


def records(path: Path, model: str | None) -> None:
    """The first activation records, whose texts are scored anew or whose scores do not count."""
    next(RecordReader([path], model=model, scorer=lambda text: 0.0).blocks(ROWS), None)


def tensors(path: Path) -> list[str]:
    """The names in a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no safetensors file: {error}", "give a run that wrote one, or the file itself") from None


def stored_array(path: Path) -> None:
    """The head of a .npy file; a Zarr array is left to the run."""
    if path.is_dir():
        if not any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")):
            raise UserError(f"{path} is no Zarr array", "give a .npy file or a Zarr array")
        return
    import numpy as np

    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} holds no array that can be read: {error}", "give a .npy file or a Zarr array") from None
    if len(shape) < 2:
        raise UserError(f"{path} has shape {list(shape)}", "activations have two axes or more, the last their width")


def first_document(path: Path, column: str | None) -> None:
    """The first text of a data file."""
    if not any(files.documents(path, column)):
        raise UserError(f"{path} is empty: it holds no text")


def builtin_text(spec: DataSpec) -> None:
    """Whether there is a text of this name, and this part of it."""
    kind = spec.source.removeprefix("builtin:")
    if kind not in builtin.BUILTIN:
        raise UserError(f"there is no data called {spec.source!r}", f"choose from builtin:{', builtin:'.join(builtin.BUILTIN)}")
    if (spec.split or "train") not in builtin.SPLITS:
        raise UserError(f"{spec.source} has no split {spec.split!r}", f"choose from {', '.join(builtin.SPLITS)}")


def text_file(source: str) -> Path | None:
    """The local file of text that a [data] table names, if it is one whose head can be read at once."""
    path = Path(source)
    light = path.suffix in files.READERS and path.suffix != ".parquet"
    return path if light and os.path.isfile(path) else None  # noqa: PTH113 - a name too long raises in pathlib
