"""Who holds something that only one process may do, also where processes are on several hosts that share a folder. Torch-free.

A lease is a file that names its holder and is touched by it every few seconds. It is made by a hard link, which only one can; whoever finds
one whose holder is gone renames it away, which only one can, and makes its own. fcntl and flock locks are taken too where a file system has
them, since they end with their process at once, but they do not decide: many shared file systems have none, or keep those of a dead host.

A holder on this host is asked for directly. One on another host is gone when its file has not been touched for `SILENT_AFTER` seconds by
the clock of the file system: the clocks of the hosts do not matter. A task that its scheduler has started again knows that its earlier
attempt is gone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import filelock

from . import untrusted
from .status import SILENT_AFTER, Owner, task_here

BEAT = 5.0
LOOK = 0.2
_AGREED_FOR = 60.0
"""Seconds for which a comparison with a file system's clock holds."""


class HeldElsewhere(Exception):
    """Another process holds it; `holder` names its host where that is another one."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@final
class Lease:
    """A lease on `path`, kept fresh by a thread while it is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = uuid.uuid4().hex
        self._released = threading.Event()

    def acquire(self, patience: float) -> None:
        """Take the lease, waiting for it up to `patience` seconds. Raises Held, or OSError where the folder cannot be written."""
        deadline = time.monotonic() + patience
        while not self._make():
            record = _record(self.path)
            if is_gone(self.path, record or {}):  # one that a power cut left empty names no holder: it is judged by its age
                self._remove(record or {})
                continue
            if time.monotonic() >= deadline:
                host = str((record or {}).get("host") or "")
                raise HeldElsewhere("" if host == socket.gethostname() else host)
            time.sleep(LOOK)
        threading.Thread(target=self._keep, name=f"lease {self.path.name}", daemon=True).start()

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._released.set()
        if (_record(self.path) or {}).get("token") == self._token:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _make(self) -> bool:
        me = Owner.me()
        record = {"token": self._token, "host": me.host, "boot_id": me.boot_id, "pid": me.pid, "created": me.created, "job": task_here()}
        record["at"] = str(self.path.absolute())
        beside = self.path.with_name(f".{self.path.name}.{self._token}")
        beside.write_text(json.dumps(record))
        try:
            os.link(beside, self.path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            return _created(self.path, json.dumps(record))
        finally:
            beside.unlink(missing_ok=True)
        return True

    def _remove(self, gone: dict[str, Any]) -> None:
        """Take the lease of a holder that is gone out of the way; of several who try, one succeeds."""
        away = self.path.with_name(f".{self.path.name}.{gone.get('token') or self._token}.gone")
        try:
            self.path.rename(away)
        except OSError:
            return
        if (_record(away) or {}).get("token") != gone.get("token"):  # somebody was quicker, and this is already the next one's
            with contextlib.suppress(OSError):
                os.link(away, self.path)
        with contextlib.suppress(OSError):  # a folder, which no program of this kind has made
            away.unlink()

    def _keep(self) -> None:
        while not self._released.wait(BEAT):
            with contextlib.suppress(OSError):  # a full disk or a server that is away: it is tried again
                os.utime(self.path)


@contextlib.contextmanager
def held(lock: Path, patience: float) -> Iterator[None]:
    """Hold what `lock`, a file of locks, stands for, on all hosts. Raises Held if it is not free after `patience` seconds, or OSError."""
    local = filelock.FileLock(lock, timeout=-1 if patience == math.inf else patience)
    try:
        local.acquire()
    except filelock.Timeout:
        raise HeldElsewhere("") from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        lease = Lease(lock.with_suffix(".lease"))
        lease.acquire(patience)
        try:
            yield
        finally:
            lease.release()
    finally:
        local.release()


def is_gone(path: Path, record: dict[str, Any]) -> bool:
    """Whether the holder that a lease names has ended, or holds another folder, of which this one is a copy."""
    if _is_a_copy(path, record.get("at")):
        return True
    try:
        owner = Owner(str(record["host"]), str(record["boot_id"]), int(record["pid"]), float(record["created"]))
    except (KeyError, TypeError, ValueError):
        return age(path) > SILENT_AFTER
    if (alive := owner.alive()) is not None:
        return not alive
    if record.get("job") and record["job"] == task_here():
        return True
    return age(path) > SILENT_AFTER


def _is_a_copy(path: Path, at: object) -> bool:
    try:
        return isinstance(at, str) and not Path(at).samefile(path)
    except (OSError, ValueError):  # this host may know the folder by another path
        return False


def is_kept(path: Path) -> bool:
    """Whether there is a lease whose holder lives."""
    record = _record(path)
    return record is not None and not is_gone(path, record)


def age(path: Path) -> float:
    """Seconds since the file was touched, by the clock of its file system; infinite where there is none."""
    try:
        touched = path.stat().st_mtime
    except OSError:
        return float("inf")
    return time.time() - ahead(path.parent) - touched


_AHEAD: dict[int, tuple[float, float]] = {}


def ahead(folder: Path) -> float:
    """Seconds by which this host's clock is ahead of that of the folder's file system; 0 where that cannot be tried."""
    try:
        device = folder.stat().st_dev
        measured, seconds = _AHEAD.get(device, (-_AGREED_FOR, 0.0))
        if time.monotonic() - measured < _AGREED_FOR:
            return seconds
        probe = folder / f".clock.{os.getpid()}.{threading.get_ident()}"
        probe.touch()
        seconds = time.time() - probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return 0.0
    _AHEAD[device] = (time.monotonic(), seconds)
    return seconds


def _record(path: Path) -> dict[str, Any] | None:
    record = untrusted.json_or_none(path)
    return record if isinstance(record, dict) else None


def _created(path: Path, text: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return True
