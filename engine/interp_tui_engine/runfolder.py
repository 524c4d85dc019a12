"""The run folder: the protocol between a run and everything that looks at it. Torch-free.

    manifest.toml  status.json  events.jsonl  result.json  *.zarr  shards/<k>/  report.md  figures/  run.lock  control/

The supervisor is the only writer of the run's events.jsonl and status.json. Clients read, and drop command files into control/.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import atomic, lease
from .errors import UserError
from .eventlog import EventLog as EventLog
from .eventlog import EventTail as EventTail
from .eventlog import last_events
from .events import Progress, RunFinished, RunStarted
from .status import ACTIVE as ACTIVE
from .status import COMMANDS as COMMANDS
from .status import RESUMABLE as RESUMABLE
from .status import SILENT_AFTER as SILENT_AFTER
from .status import Command as Command
from .status import Owner as Owner
from .status import State as State
from .status import Status as Status
from .status import boot_id as boot_id
from .status import state_named

CLOCKS_AGREE = 5.0
"""Seconds by which the clocks of two hosts may differ."""
_BEING_MADE = ".being-made"
_FORGOTTEN_AFTER = 3600.0
"""Seconds after which a folder that was being made was left by a kill."""


def runs_root(given: Path | None = None) -> Path:
    """Where run folders live: the argument, else $INTERP_TUI_RUNS, else ./runs."""
    return (given or Path(os.environ.get("INTERP_TUI_RUNS") or "runs")).expanduser().absolute()


@dataclass(frozen=True)
class RunFolder:
    """One run folder: its files by name. Creating the value touches nothing."""

    path: Path

    @staticmethod
    def create(path: Path, files: Mapping[str, str] | None = None) -> RunFolder:
        """Make a new, private run folder that holds `files` (name -> text), or nothing at all.

        It is made beside and renamed whole: a kill at any moment leaves no folder without its manifest. What such a kill leaves beside,
        under a name that no listing shows, goes with a later run. Raises UserError if the path is taken or cannot be written.
        """
        exists = UserError(f"output folder exists: {path}", "a run folder is never overwritten; give another --out, or --resume it")
        if not is_free(path):
            raise exists
        beside = path.parent / f".{uuid.uuid4().hex}{_BEING_MADE}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep_up(path.parent)
            beside.mkdir(mode=0o700)
            for name in ("control", "shards"):
                (beside / name).mkdir(mode=0o700)
            for name, text in (files or {}).items():
                atomic.write_text(beside / name, text)
            remove_empty(path)
            beside.rename(path)
        except (OSError, ValueError) as error:
            shutil.rmtree(beside, ignore_errors=True)
            if not is_free(path):  # another run was quicker
                raise exists from None
            full = atomic.disk_is_full(error)
            reason = "the disk is full" if full else getattr(error, "strerror", None) or str(error)
            hint = (
                "free some space, or choose another place with --out or --runs" if full else "choose a writable place with --out or --runs"
            )
            raise UserError(f"cannot make the run folder {path}: {reason}", hint) from None
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """An existing run folder. Raises UserError when there is none or it holds no manifest."""
        with contextlib.suppress(RuntimeError):  # the home of an unknown user: no such folder
            path = path.expanduser()
        folder = RunFolder(path.absolute())
        if not _is(Path.is_dir, folder.path):
            raise UserError(f"no such run folder: {path}", "interp-tui list shows the runs there are")
        if not _is(Path.is_file, folder.manifest_path):
            raise UserError(f"not a run folder: {path} holds no manifest.toml", "interp-tui list shows the runs there are")
        return folder

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.toml"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def lock_path(self) -> Path:
        return self.path / "run.lock"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def queued_path(self) -> Path:
        """There while the run waits in a queue of this machine, for as long as that takes."""
        return self.path / "queued"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.md"

    def shard(self, index: int) -> Path:
        return self.path / "shards" / str(index)

    def result(self) -> dict[str, Any] | None:
        """The kind's headline numbers, or None before the run is done."""
        value = atomic.read_json(self.result_path)
        return value if isinstance(value, dict) else None

    def write_status(self, status: Status) -> None:
        # a status lost in a power cut is recovered from events.jsonl, so it need not cost a disk sync twice a second
        atomic.write_json(self.path / "status.json", status.to_json(), durable=False)

    def status(self) -> Status:
        """The run's status as it is now: a run whose owner is gone reads as crashed, whatever its file still says."""
        record = atomic.read_json(self.path / "status.json")
        status = Status.from_json(record) if isinstance(record, dict) else self._status_from_events()
        if status.state not in ACTIVE:
            return status
        if status.state == "queued" and self.queued_path.exists():
            return replace(status, in_queue=True)
        alive = status.owner.alive() if status.owner else False
        if alive is None:
            alive = self._silence_of(status) < SILENT_AFTER
        elif alive and not self._is_at(status.folder):
            return replace(status, state="crashed", exit={"reason": f"a copy of a run that goes on in {status.folder}"})
        if alive or (status.owner is None and time.time() - status.updated < 10):
            return status
        if status.cluster.get("jobs"):
            if self._tasks_go_on():
                return replace(status, unsupervised=True)
            waits = "its supervisor is gone; tasks that wait in Slurm are not lost, resume takes them over"
            return replace(status, state="crashed", exit=status.exit or {"reason": waits})
        return replace(status, state="crashed", exit=status.exit or {"reason": "owner gone"})

    def _silence_of(self, status: Status) -> float:
        """Seconds since a run on another host was heard of, by the clock of the file system that both see."""
        now, updated = time.time() - lease.ahead(self.path), status.updated - status.clock_ahead
        if updated > now + CLOCKS_AGREE:  # an owner that did not say how its clock goes
            with contextlib.suppress(OSError):
                updated = min(now, (self.path / "status.json").stat().st_mtime)
        return now - updated

    def _tasks_go_on(self) -> bool:
        """Whether a task of the run still keeps its lease: a worker's, or that of a point's or a step's own supervisor."""
        leases = ("shards/*/worker.lease", "points/*/run.lease", "steps/*/run.lease")
        return any(lease.is_kept(path) for pattern in leases for path in self.path.glob(pattern))

    def _is_at(self, folder: str) -> bool:
        """Whether the folder is this one, by whatever path; where it is gone it was moved, and is."""
        try:
            return not folder or Path(folder).samefile(self.path)
        except (OSError, ValueError):
            return True

    def _status_from_events(self) -> Status:
        """What the log says of a run whose status.json was lost: how it ended, or, if it does not say, that it crashed."""
        status = Status(state="crashed", exit={"reason": "its status.json is missing or damaged"})
        for stamped in last_events(self.events_path):
            event = stamped.event
            status = replace(status, updated=stamped.t)
            if isinstance(event, RunStarted):
                status = replace(status, kind=event.kind, name=event.name, device=event.device)
            elif isinstance(event, Progress):
                status = replace(status, done=event.done, total=event.total, unit=event.unit)
            elif isinstance(event, RunFinished):
                ended = {"reason": event.reason, "advice": event.advice}
                status = replace(status, state=state_named(event.state), headline=dict(event.headline), exit=ended)
        return status

    def send(self, command: Command) -> None:
        """Drop a command for the supervisor: it, and through it the worker, looks several times a second."""
        self.control.mkdir(exist_ok=True)
        atomic.write_text(self.control / command, "", durable=False)

    def take_commands(self) -> list[Command]:
        """The commands waiting, oldest first, each taken once."""
        return take_commands(self.control)


def is_free(path: Path) -> bool:
    """Whether a run folder can be made there: nothing is there, or folders without a single file, as a kill may have left."""
    if not _is(os.path.lexists, path):
        return True
    return _is(_holds_only_folders, path)


def _holds_only_folders(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    return all(_holds_only_folders(Path(entry.path)) for entry in os.scandir(path))


def remove_empty(path: Path) -> None:
    """Remove a folder that holds only folders, if it is there. Raises OSError where it holds more."""
    for place, _, _ in os.walk(path, topdown=False):
        Path(place).rmdir()


def _sweep_up(root: Path) -> None:
    """Remove what kills have left of folders that were being made."""
    for left in root.glob(f".*{_BEING_MADE}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _FORGOTTEN_AFTER:
                shutil.rmtree(left, ignore_errors=True)


def take_commands(control: Path) -> list[Command]:
    """Remove and return the command files in `control`, oldest first; other files are left alone."""
    waiting: list[tuple[float, Command]] = []
    for command in COMMANDS:
        path = control / command
        try:
            when = path.stat().st_mtime
            path.unlink()
        except OSError:
            continue
        waiting.append((when, command))
    return [command for _, command in sorted(waiting)]


def new_run_path(root: Path, kind: str, name: str, now: datetime | None = None) -> Path:
    """A free path `<yyyymmdd-hhmmss>-<kind>-<name>` under `root`; the name is reduced to letters, digits, '.', '_' and '-'."""
    slug = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:60] or "run"
    stem = f"{(now or datetime.now()):%Y%m%d-%H%M%S}-{kind}-{slug}"
    path = root / stem
    for count in range(2, 10_000):
        if not path.exists():
            break
        path = root / f"{stem}-{count}"
    return path


def find_runs(root: Path) -> list[RunFolder]:
    """The run folders under `root`, newest first (their names begin with their start time)."""
    try:
        entries = [entry for entry in os.scandir(root) if entry.is_dir()]
    except OSError:
        return []
    folders = (RunFolder(Path(entry.path)) for entry in sorted(entries, key=lambda e: e.name, reverse=True))
    return [folder for folder in folders if not folder.path.name.startswith(".") and _is(Path.is_file, folder.manifest_path)]


def _is(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether the path is what the test asks for; a path that cannot be looked at, or cannot be one at all, is not."""
    try:
        return test(path)
    except (OSError, ValueError):
        return False


def find_run(root: Path, text: str) -> RunFolder:
    """The run a user means by a path, by its manifest, by a folder name, or by any unambiguous part of one.

    Raises UserError listing the candidates.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # the home of an unknown user
        path = Path(text)
    if path.name == "manifest.toml" and _is(Path.is_file, path):
        path = path.absolute().parent
    if _is(Path.is_file, path / "manifest.toml"):
        return RunFolder.open(path)
    runs = find_runs(root)
    matches = [run for run in runs if run.path.name == text] or [run for run in runs if text and text in run.path.name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(run.path.name for run in matches[:5])
        raise UserError(f"{text!r} could be any of {len(matches)} runs: {names}", "give more of the name")
    if text and _is(Path.is_dir, path):
        return RunFolder.open(path)
    raise UserError(f"no run named {text!r} under {root}", "interp-tui list shows the runs there are")
