"""Who does what in a run of several workers: dealt out once, before the first of them starts. Torch-free.

    shards/0/ … shards/<n-1>/   a worker's share each: share.json, its events, log and checkpoints, and how it ended
    shards/<n>/                 the worker that comes last and joins them: the estimates from all that they sampled

What share.json says stays as it is for the life of the run, so that a resumed run goes on where each worker was. Which device does a share
is read from the manifest at every start: a run whose GPU has broken can go on with another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import atomic
from .runfolder import RunFolder

FILE = "share.json"


@dataclass(frozen=True)
class Shard:
    """One worker's part of a run.

    work: what it does, as its kind dealt it out, None for the worker that joins the others' shares. what: the same for people to read.
    of: how many workers share the run, that one not counted.
    """

    what: str
    work: Mapping[str, Any] | None
    of: int

    @property
    def merges(self) -> bool:
        return self.work is None


Assignment = tuple[str, Mapping[str, Any]]
"""What one worker is to do: for people to read, and for its kind."""


def assign(folder: RunFolder, assignments: Sequence[Assignment]) -> list[Shard]:
    """The shares of a run, the joining one last: those that it was started with, else these portions, written down."""
    if (assigned := of_run(folder)) is not None:
        return assigned
    shards = [Shard(what, work, len(assignments)) for what, work in assignments]
    shards.append(Shard("joins the shares", None, len(assignments)))
    # backwards: the first share is there only if all are, so that a deal cut short by a kill is dealt again
    for index, share in reversed(list(enumerate(shards))):
        path = folder.shard(index)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / "exit.json").unlink(missing_ok=True)  # a run that one worker began may be shared when it is resumed
        atomic.write_json(path / FILE, {"what": share.what, "work": share.work, "of": share.of})
    return shards


def of_run(folder: RunFolder) -> list[Shard] | None:
    """The shares that a run was started with; None for one that a single worker does."""
    first = read(folder, 0)
    if first is None:
        return None
    shards = [read(folder, index) for index in range(first.of + 1)]
    return [share for share in shards if share is not None] if None not in shards else None


def read(folder: RunFolder, shard: int) -> Shard | None:
    """The share of one worker; None where one worker does all."""
    record = atomic.read_json(folder.shard(shard) / FILE)
    if not isinstance(record, dict) or not isinstance(record.get("of"), int):
        return None
    work = record.get("work")
    return Shard(str(record.get("what", "")), work if isinstance(work, dict) else None, record["of"])


def device_of(devices: Sequence[str], shard: int, of: int) -> str:
    """The device of a share: in turn, and the first for the one that joins."""
    return devices[shard % len(devices)] if shard < of else devices[0]


def listed(devices: Sequence[str]) -> str:
    """Several devices as one short text: '2×cpu', 'cuda:0, cuda:1'."""
    return ", ".join(name if count == 1 else f"{count}×{name}" for name, count in Counter(devices).items())


def gather(folder: RunFolder, into: int) -> list[dict[str, Any]]:
    """Put the checkpoints of the shares 0 … into - 1 under those of the shard `into`, which goes on from them; returns what each told.

    Their names are told apart by what they hold (a chain, a restriction), except for what all shares know alike. Of two by one name the
    newer is taken: the other is from before the run was shared.
    """
    target = folder.shard(into) / "checkpoint"
    newest: dict[Path, tuple[int, Path]] = {}
    for shard in range(into):
        source = folder.shard(shard) / "checkpoint"
        for path in sorted(path for path in source.rglob("*") if path.is_file() and ".tmp" not in path.suffix):
            name, when = path.relative_to(source), path.stat().st_mtime_ns
            newest[name] = max(newest.get(name, (when, path)), (when, path))
    for name, (_, path) in newest.items():
        _link(path, target / name)
    ends = [atomic.read_json(folder.shard(shard) / "exit.json") for shard in range(into)]
    reports = [end.get("told") if isinstance(end, dict) else None for end in ends]
    return [record if isinstance(record, dict) else {} for record in reports]


def _link(path: Path, at: Path) -> None:
    """The same file under another name, or a copy where the file system knows no links. Checkpoints are replaced, never changed."""
    if at.exists():
        return
    at.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        try:
            os.link(path, at)
        except FileExistsError:
            raise
        except OSError:
            with atomic.replacing(at, durable=False) as beside:
                shutil.copyfile(path, beside)
