"""Files that are whole or not there: written beside, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import untrusted
from .numbers import finite

DISK_FULL = errno.ENOSPC
"""Exit code of a worker that could not even write down how it ended."""

_FULL = ("No space left on device", "Disk quota exceeded", "file write failed")
"""What safetensors, zarr and torch say of it."""


def disk_is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space or quota, also where a library tells of that in an error of its own."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(
        (isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT)) or any(text in str(link) for text in _FULL)
        for link in chain
    )


def after_full_disk(run: Path) -> str:
    """What to do about a disk that is full below a run folder, and what is left of the run."""
    kept = any(any(folder.iterdir()) for folder in run.rglob("checkpoint") if folder.is_dir())
    left = "the last checkpoint is whole" if kept else "it begins again, as no checkpoint had been written yet"
    return f"free space on the disk of {run}, then resume: {left}"


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` by `text` in one step. `durable` syncs first, so that a power cut leaves the old file or the new one."""
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """`write_text` of bytes as they are."""
    with replacing(path, durable=durable) as beside:
        beside.write_bytes(content)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Where to write what takes the place of `path`, a file or a folder, when the block ends; gone again if the block raises.

    `durable` syncs what was written before it is renamed. The folder of `path` must be there. A kill leaves the old or the new, whole; only
    between removing an old folder and renaming the new one is there neither.
    """
    beside = beside_of(path)
    _remove(beside)
    try:
        yield beside
        if durable:
            for written in (beside, *beside.rglob("*")):
                _fsync(written)
        if beside.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        beside.replace(path)
    except BaseException:
        _remove(beside)
        raise


def beside_of(path: Path) -> Path:
    """The name under which this process prepares `path`, in the same folder so that renaming it is one step."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sync(path: Path) -> None:
    """fsync a file, and its folder so that its name lasts too."""
    _fsync(path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """`write_text` of the value as indented JSON; numbers that are not finite become null."""
    write_text(path, json_text(value), durable=durable)


def json_text(value: Any) -> str:
    """The value as the text of a JSON file."""
    return json.dumps(finite(value), indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The file's JSON value, or None if it is missing, not JSON, too large or nested too deep (a foreign or damaged file)."""
    return untrusted.json_or_none(path)
