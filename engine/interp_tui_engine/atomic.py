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


def disk_is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space or quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


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
    write_text(path, json.dumps(finite(value), indent=1, allow_nan=False) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """The file's JSON value, or None if it is missing, not JSON, too large or nested too deep (a foreign or damaged file)."""
    return untrusted.json_or_none(path)
