"""Files that are whole or not there: written beside, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from . import untrusted
from .events import finite

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
        (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)) or any(text in str(one) for text in _FULL) for one in chain
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
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """`write_text` of the value as indented JSON; numbers that are not finite become null."""
    write_text(path, json_text(value), durable=durable)


def json_text(value: Any) -> str:
    """The value as the text of a JSON file."""
    return json.dumps(finite(value), indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The file's JSON value, or None if it is missing, not JSON, too large or nested too deep (a foreign or damaged file)."""
    return untrusted.json_or_none(path)
