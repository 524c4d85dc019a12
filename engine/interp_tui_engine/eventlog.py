"""The log of a run: one event a line, appended by one writer, read by any number of readers as it grows. Torch-free."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UserError
from .events import Event, RunStarted, Stamped, from_line, to_line
from .untrusted import Damaged, open_regular

MAX_EVENT = 64 << 20
"""Bytes of one event; the largest, a grid of all heads over all tokens, take a few MiB."""


class EventLog:
    """Appends events to a log, one whole line each; a line torn by a kill is cut off when the log is opened again.

    Raises UserError where a pipe, a folder or the like is in its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq = 0
        self.copied: dict[int, int] = {}
        """For each shard, the last of its lines that stands in this log."""
        self.computed_on: dict[int | None, str] = {}
        """For each shard, what its last start computed on, as far as it said: a GPU's model, or the CPU."""
        self.device_types: set[str] = set()
        """What all its starts have computed on."""
        keep = 0
        if os.path.lexists(path):
            with _regular(path) as file:
                for line, size in whole_lines(file):
                    keep += size
                    try:
                        stamped = from_line(line)
                    except ValueError:  # a damaged line costs itself, not what stands after it
                        continue
                    self.seq = stamped.seq
                    self._note_device(stamped.event, stamped.shard)
                    if stamped.shard is not None and stamped.shard_seq is not None:
                        self.copied[stamped.shard] = stamped.shard_seq
        self._file: BinaryIO = path.open("ab")
        if self._file.tell() > keep:
            self._file.truncate(keep)
            self._file.seek(keep)

    def append(self, event: Event, *, t: float | None = None, shard: int | None = None, shard_seq: int | None = None) -> Stamped:
        """Write one event; returns it with its sequence number. Raises OSError, e.g. on a full disk, with the log still whole."""
        stamped = Stamped(self.seq + 1, round(time.time() if t is None else t, 3), event, shard, shard_seq)
        start = self._file.tell()
        try:
            self._file.write(to_line(stamped).encode() + b"\n")
            self._file.flush()
        except OSError:
            self._file = self._reopen_at(start)
            raise
        self.seq = stamped.seq
        self._note_device(event, shard)
        if shard is not None and shard_seq is not None:
            self.copied[shard] = shard_seq
        return stamped

    def _note_device(self, event: Event, shard: int | None) -> None:
        if isinstance(event, RunStarted) and (device := device_type(event.provenance)):
            self.computed_on[shard] = device
            self.device_types.add(device)

    def _reopen_at(self, size: int) -> BinaryIO:
        with contextlib.suppress(OSError):
            self._file.close()
        os.truncate(self.path, size)
        return self.path.open("ab")

    def close(self) -> None:
        self._file.close()


def device_type(made: Mapping[str, Any]) -> str:
    """What a start computed on, as it matters for the last bits of its numbers: a GPU's model, or the CPU; empty where it does not say."""
    return str(made.get("gpu") or ("the CPU" if made.get("device") else ""))


def _regular(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except (IsADirectoryError, Damaged):
        reason = "it is no regular file"
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        reason = "it is a link to itself"
    raise UserError(f"{path} cannot be written: {reason}", "move it away, then resume")


def last_events(path: Path, *, size: int = 1 << 18) -> list[Stamped]:
    """The events in the last `size` bytes of a log; none if it cannot be read."""
    tail = EventTail(path)
    try:
        start = path.stat().st_size - size
        if start > 0:
            with open_regular(path) as file:
                file.seek(start)
                tail.offset = start + len(file.readline(size))
    except (OSError, ValueError):
        return []
    return list(tail.read(seconds=5.0))


def whole_lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The lines of a log that have their end, with their sizes; of one too long to be an event only the beginning, in bounded memory."""
    while line := file.readline(MAX_EVENT):
        size = len(line)
        while not line.endswith(b"\n"):
            part = file.readline(MAX_EVENT)
            if not part:
                return  # not all of it is written yet
            size += len(part)
            if part.endswith(b"\n"):
                break
        yield line, size


class EventTail:
    """Reads a log as it grows, in time-boxed chunks. A truncated last line means 'not yet'."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def read(self, *, seconds: float = 0.05) -> Iterator[Stamped]:
        """The events since the last call, stopping after `seconds`; call again for the rest. Lines that are no events are passed over."""
        deadline = time.monotonic() + seconds
        try:
            file = open_regular(self.path)
        except (OSError, ValueError):
            return
        with file:
            if os.fstat(file.fileno()).st_size < self.offset:
                self.offset = 0
            file.seek(self.offset)
            for count, (line, size) in enumerate(whole_lines(file)):
                self.offset += size
                try:
                    yield from_line(line)
                except ValueError:
                    continue
                if count % 64 == 63 and time.monotonic() > deadline:
                    return

    def behind(self) -> bool:
        """Whether there is more to read."""
        try:
            return self.path.stat().st_size > self.offset
        except OSError:
            return False
