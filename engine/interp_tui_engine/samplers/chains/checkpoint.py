"""A chain's state on disk: written beside the old one, synced, renamed. A kill at any instant leaves the old or the new, whole."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch

from ... import atomic
from ...errors import RunFailed
from ..target.space import FlatSpace

WRITE_BYTES_PER_SECOND = 200 << 20
WRITING_SHARE = 1 / 30
"""Of a run's time that checkpoints may take on a disk that writes so fast."""
LONGEST = 300.0
BEFORE = ".before"


def interval(nbytes: int, least: float) -> float:
    """Seconds from one checkpoint of so many bytes to the next: at least `least`, and as many as keep writing a small share of the time."""
    return min(LONGEST, max(least, nbytes / WRITE_BYTES_PER_SECOND / WRITING_SHARE))


def chain_file(folder: Path, chain: int) -> Path:
    """Where a chain's checkpoint lies."""
    return folder / f"chain-{chain:05d}.pt"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path`. Values: tensors, numbers, strings, lists and dicts of them. Raises RunFailed on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic.replacing(path) as beside, beside.open("wb") as file:
            torch.save(dict(state), file)
        atomic.sync(path)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__
        if (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)) or "file write failed" in str(error):
            before = "the previous one is intact" if path.exists() else "there was none before it, so that resume begins again"
            raise RunFailed("the disk is full", f"A checkpoint needs about {_megabytes(state)} MiB; {before}.") from error
        raise


def load(path: Path) -> dict[str, Any] | None:
    """The checkpoint at `path`, or None when there is none. Never runs code from the file."""
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert isinstance(state, dict)
    return state


def _megabytes(value: Any) -> int:
    """What the tensors in it take, in MiB, rounded up."""
    return 1 + _bytes(value) // (1 << 20)


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return sum(_bytes(item) for item in inside)


@final
class ChainFiles:
    """The checkpoints of chains in a folder.

    Where each process holds a part of the weights (`space.part`), each keeps its part, and also the one before: a kill may find some with
    the new one and some without, and the chain goes on from the newest step that all of them have.
    """

    def __init__(self, folder: Path, space: FlatSpace) -> None:
        self._folder, self._space = folder, space

    def _path(self, chain: int) -> Path:
        part = self._space.part.replace(" ", "-")
        path = chain_file(self._folder, chain)
        return path.with_suffix(f".{part}.pt") if part else path

    def load(self, chain: int) -> dict[str, Any] | None:
        """The checkpoint to go on from, or None. Where there are parts, a collective call."""
        path = self._path(chain)
        if not self._space.part:
            return load(path)
        before = path.with_suffix(BEFORE)
        kept = {int(saved["chains"][0]["step"]): (file, saved) for file in (before, path) if (saved := load(file)) is not None}
        step = self._space.newest_common(list(kept))
        if step is None:
            path.unlink(missing_ok=True)
            before.unlink(missing_ok=True)
            return None
        file, saved = kept[step]
        if file != path:
            file.replace(path)
        return saved

    def save(self, chain: int, saved: Mapping[str, Any]) -> None:
        """Keep a chain's state. Raises RunFailed on a full disk."""
        path = self._path(chain)
        if self._space.part and path.exists():
            path.replace(path.with_suffix(BEFORE))
        save(path, saved)
