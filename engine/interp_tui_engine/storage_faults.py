"""What to say of a run whose folder can no longer be written: full, gone, read-only, or on a failing disk. Torch-free."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from . import atomic

_OF_THE_DISK = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT})
"""What writing to an open file can raise, without naming it, when the file system below it fails."""
_IN_WORDS = tuple(os.strerror(number) for number in (errno.EIO, errno.EROFS, errno.ESTALE))
"""What safetensors and zarr say of it."""


def explained(error: BaseException, run: Path) -> tuple[str, str] | None:
    """Why the folder of a run cannot be written and what to do about it; None where the error says nothing of the kind.

    The run goes on from its last checkpoint once that is mended.
    """
    if atomic.disk_is_full(error):
        return "the disk is full", atomic.after_full_disk(run)
    fault = next((reason for link in _chain(error) if (reason := _reason(link, run))), None)
    if fault is None:
        return None
    if not (run / "manifest.toml").exists():
        return f"the run folder is gone: {run}", "if it was moved, resume it where it is now; what was deleted is lost"
    return f"{run} cannot be written: {fault}", "mend that, then resume: what was checkpointed is kept"


def _reason(error: BaseException, run: Path) -> str | None:
    """What an error says of a file of the run or of the disk below it."""
    if not isinstance(error, OSError):
        return next((words for words in _IN_WORDS if words in str(error)), None)
    name = error.filename2 or error.filename  # of a renaming, what should have been written
    if isinstance(name, (str, bytes)) and Path(os.fsdecode(name)).is_relative_to(run):
        return f"{Path(os.fsdecode(name)).relative_to(run)}: {error.strerror}"
    return error.strerror if name is None and error.errno in _OF_THE_DISK else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        yield cause
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
