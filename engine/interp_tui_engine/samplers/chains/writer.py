"""Writes arrays on a thread of its own, so that a chain never waits for the disk until the queue is full."""

from __future__ import annotations

import errno
import queue
import threading
from pathlib import Path
from typing import Any, final

from numpy.typing import NDArray

from ... import atomic
from ...errors import RunFailed
from .store import SampleStore

_DEPTH = 32
"""Regions waiting at most; a region is about a megabyte."""

_Item = tuple[str, tuple[int | slice, ...], NDArray[Any]]


@final
class BackgroundWriter:
    """One thread that writes to one store. Use as a context manager; an error in the thread surfaces at the next `put` or `barrier`."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self._queue: queue.Queue[_Item | None] = queue.Queue(_DEPTH)
        self._error: BaseException | None = None
        self._unsynced: set[Path] = set()
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="sample-writer", daemon=True)

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def put(self, name: str, index: tuple[int | slice, ...], values: NDArray[Any]) -> None:
        """Queue a region. The caller gives `values` away: it must not change them afterwards.

        index: an entry an axis; values: of the region's shape.
        """
        self._check()
        self._queue.put((name, index, values))

    def barrier(self) -> None:
        """Return when everything queued so far is on the disk, not only in its cache."""
        with self._syncing:  # a second caller must not return before the first has synced what it took
            self._queue.join()
            self._check()
            with self._lock:
                pending, self._unsynced = self._unsynced, set()
            try:
                for path in sorted(pending):
                    atomic.sync(path)
            except OSError as error:
                raise self._explain(error) from error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if self._error is None:  # after an error, later regions would be presumed written by no checkpoint
                    name, index, values = item
                    self._store.write(name, index, values)
                    with self._lock:
                        self._unsynced.update(self._store.written_files(name, index))
                    self._written += values.nbytes
            except BaseException as error:  # handed to the thread that asked
                self._error = error
            finally:
                self._queue.task_done()

    def _check(self) -> None:
        if self._error is not None:
            raise self._explain(self._error) from self._error

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            missing = max(1 << 20, self._store.nbytes() - self._written)
            return RunFailed("the disk is full", f"Free about {-(-missing // (1 << 20))} MiB more for the samples, then resume.")
        return error
