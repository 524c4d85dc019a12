"""What runs take on disk, and what of it can go while their results stay. Headless, and as slow as the disk: call it from a thread.

A finished run's stores are its arrays (`*.zarr`, per draw and token) and its checkpoints: far the most of its bytes, and what its numbers
were made from. Without them result, report, figures, events, dictionaries and manifest are as they were, and the manifest makes the rest
again; pictures that read arrays say that they are gone.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.numbers import as_finite
from interp_tui_engine.runfolder import RunFolder

PRUNED = "pruned.json"
ARRAYS_ARE_THE_RESULT = frozenset({"activations", "records"})
"""Kinds whose arrays are what they were run for, and what others read."""
NESTED = ("steps", "points")
"""Folders of a run that hold runs of their own."""
LEFT_BEHIND = (".deleted-", ".being-made")
FORGOTTEN_AFTER = 3600.0
"""Seconds after which what a kill has left is nobody's any more."""


@dataclass(frozen=True)
class DiskUsage:
    """Bytes of a run: all of it, and of that what `prune` would free."""

    folder: RunFolder
    total: int
    stores: int


def usage(folder: RunFolder) -> DiskUsage:
    """What the run takes, its steps and points with it."""
    return DiskUsage(folder, size_of(folder.path), sum(size_of(path) for path in stores(folder)))


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder; links count for nothing, and what cannot be read for nothing."""
    if path.is_symlink():
        return 0
    if path.is_file():
        with suppress(OSError):
            return path.stat().st_size
        return 0
    found = 0
    for place, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not (Path(place) / name).is_symlink()]
        for name in files:
            with suppress(OSError):
                found += (Path(place) / name).lstat().st_size
    return found


def stores(folder: RunFolder) -> list[Path]:
    """The arrays and checkpoints of a run, and of the runs in it."""
    own = [] if folder.status().kind in ARRAYS_ARE_THE_RESULT else [*_own_stores(folder.path)]
    return [*own, *(path for inner in _nested(folder.path) for path in stores(RunFolder(inner)))]


def _own_stores(path: Path) -> Iterator[Path]:
    for found in (*path.glob("*.zarr"), *path.glob("checkpoint"), *path.glob("shards/*/*.zarr"), *path.glob("shards/*/checkpoint")):
        if not found.is_symlink() and found.resolve().is_relative_to(path.resolve()):  # `shards` may be a link, too
            yield found


def _nested(path: Path) -> Iterator[Path]:
    for name in NESTED:
        if (path / name).is_dir() and not (path / name).is_symlink():
            yield from (inner for inner in (path / name).iterdir() if (inner / "manifest.toml").is_file() and not inner.is_symlink())


def prune(folder: RunFolder) -> int:
    """Drop the stores of a run that is done; returns the bytes freed, and leaves a note of them in the folder.

    Raises UserError for a run that is not done: one that goes on or can be resumed needs them.
    """
    state = folder.status().state
    if state != "done":
        raise UserError(f"{folder.path.name} is {state}", "only runs that are done keep their results without their arrays")
    found = stores(folder)
    freed = sum(size_of(path) for path in found)
    names = sorted(str(path.relative_to(folder.path)) for path in found)
    if not found:
        return 0
    before = pruned(folder) or Pruned(0.0, 0, ())
    record = {"when": time.time(), "bytes": freed + before.bytes, "paths": sorted({*names, *before.paths})}
    try:
        atomic.write_json(folder.path / PRUNED, record)  # first: a kill in between must not leave arrays missing without a word
        for path in found:
            shutil.rmtree(path)
    except OSError as error:
        raise UserError(f"cannot prune {folder.path}: {error.strerror or error}") from None
    return freed


@dataclass(frozen=True)
class Pruned:
    """When a run's stores were dropped, and what they were."""

    when: float
    bytes: int
    paths: tuple[str, ...]


def pruned(folder: RunFolder) -> Pruned | None:
    """The note that `prune` left, if it was called."""
    record = atomic.read_json(folder.path / PRUNED)
    if not isinstance(record, dict):
        return None
    when, size, paths = record.get("when"), record.get("bytes"), record.get("paths")
    return Pruned(
        as_finite(when) or 0.0,
        size if isinstance(size, int) else 0,
        tuple(path for path in paths if isinstance(path, str)) if isinstance(paths, list) else (),
    )


def left_behind(root: Path) -> list[Path]:
    """What kills have left under `root`: runs half deleted and folders that never became runs, for an hour untouched."""
    found = []
    with suppress(OSError):
        for path in root.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name.startswith(".") and any(mark in path.name for mark in LEFT_BEHIND):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > FORGOTTEN_AFTER:
                        found.append(path)
    return sorted(found)


def sweep(root: Path) -> int:
    """Remove what kills have left; returns the bytes freed."""
    freed = 0
    for path in left_behind(root):
        taken = size_of(path)
        shutil.rmtree(path, ignore_errors=True)
        freed += taken if not path.exists() else 0
    return freed
