"""What a running experiment is given. Torch-free."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock

from ..manifest import Manifest
from ..runfolder import RunFolder
from ..shards import Shard

Order = Literal["go", "pause", "checkpoint", "stop"]


class Interrupted(Exception):
    """The run was told to stop and has written its checkpoint."""


@dataclass(frozen=True)
class Context:
    """One shard of one run, as its experiment sees it."""

    manifest: Manifest
    folder: RunFolder
    shard: int
    poll: Callable[[], Order]
    """What to do next; asked between steps. 'pause' blocks nothing by itself: ask again until it is no longer said."""
    resumed: bool = False
    share: Shard | None = None
    """What this worker does of a run that several share; None where it does all."""
    joined: tuple[Mapping[str, Any], ...] = ()
    """For the worker that joins the others' shares: what each of them had to tell."""

    @property
    def is_primary(self) -> bool:
        """Whether what concerns the whole run is for this worker to say: the others would only repeat it."""
        return self.share is None or self.shard == 0

    @property
    def common_path(self) -> Path:
        """A folder for what all workers of the run must agree on."""
        return self.shard_path if self.share is None else self.shard_path.parent

    def alone(self) -> contextlib.AbstractContextManager[Any]:
        """While held, no other worker of this run is inside the same."""
        return contextlib.nullcontext() if self.share is None else filelock.FileLock(self.common_path / "workers.lock")

    @property
    def shard_path(self) -> Path:
        return self.folder.shard(self.shard)

    @property
    def checkpoint_path(self) -> Path:
        return self.shard_path / "checkpoint"


def parse_interval(text: str) -> float | None:
    """Seconds in '30s', '5min' or '1h'; None for 'auto'."""
    if text == "auto":
        return None
    for unit, seconds in (("min", 60.0), ("h", 3600.0), ("s", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * seconds
    raise ValueError(text)


def parse_bytes(text: str) -> int | None:
    """Bytes in '256MiB', '1GB', …; None for 'auto'."""
    if text == "auto":
        return None
    for unit, size in (("MiB", 2**20), ("GiB", 2**30), ("MB", 10**6), ("GB", 10**9)):
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * size)
    raise ValueError(text)


class Ticker:
    """Says when `seconds` have passed since it last said so."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._next = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.seconds
        return True
