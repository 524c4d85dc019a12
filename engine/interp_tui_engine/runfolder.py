"""The run folder: the protocol between a run and everything that looks at it. Torch-free.

    manifest.toml  status.json  events.jsonl  result.json  *.zarr  shards/<k>/  report.md  figures/  run.lock  control/

The supervisor is the only writer of the run's events.jsonl and status.json. Clients read, and drop command files into control/.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from . import atomic
from .errors import UserError
from .events import Event, Stamped, from_line, to_line

State = Literal["queued", "running", "paused", "stopping", "done", "failed", "interrupted", "crashed"]
Command = Literal["pause", "resume", "checkpoint", "stop", "kill"]
COMMANDS: tuple[Command, ...] = get_args(Command)
ACTIVE: frozenset[State] = frozenset({"queued", "running", "paused", "stopping"})
RESUMABLE: frozenset[State] = frozenset({"failed", "interrupted", "crashed", "queued"})

SILENT_AFTER = 60.0
"""Seconds without an update after which a run owned by another host is taken for gone: its process cannot be asked from here."""


@dataclass(frozen=True)
class Owner:
    """Which process holds a run, told apart from a later one with the same pid by its creation time and the machine's boot."""

    host: str
    boot_id: str
    pid: int
    created: float

    @staticmethod
    def me() -> Owner:
        return Owner(socket.gethostname(), boot_id(), os.getpid(), psutil.Process().create_time())

    def alive(self) -> bool | None:
        """Whether the process lives; None when it is on another host and cannot be asked."""
        if self.host != socket.gethostname():
            return None
        if self.boot_id != boot_id():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class Status:
    """What status.json says: one small value, rewritten atomically."""

    state: State = "queued"
    kind: str = ""
    name: str = ""
    model: str = ""
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    eta_seconds: float | None = None
    headline: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    owner: Owner | None = None
    worker_pid: int | None = None
    started: float = 0.0
    updated: float = 0.0
    exit: dict[str, Any] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    def to_json(self) -> dict[str, Any]:
        owner = self.owner
        return {
            "state": self.state,
            "kind": self.kind,
            "name": self.name,
            "model": self.model,
            "progress": {"done": self.done, "total": self.total, "unit": self.unit},
            "eta_seconds": self.eta_seconds,
            "headline": self.headline,
            "device": self.device,
            "host": owner.host if owner else None,
            "boot_id": owner.boot_id if owner else None,
            "pid": owner.pid if owner else None,
            "created": owner.created if owner else None,
            "worker_pid": self.worker_pid,
            "started": self.started,
            "updated": self.updated,
            "exit": self.exit,
        }

    @staticmethod
    def from_json(record: Any) -> Status:
        """The status in `record`; what is missing or malformed takes its default, so that a foreign file never breaks a listing."""
        if not isinstance(record, dict):
            return Status()
        progress = record.get("progress") if isinstance(record.get("progress"), dict) else {}
        owner = None
        if isinstance(record.get("pid"), int) and isinstance(record.get("host"), str):
            owner = Owner(record["host"], str(record.get("boot_id")), record["pid"], float(record.get("created") or 0.0))
        state = record.get("state")
        return Status(
            state=state if state in get_args(State) else "crashed",
            kind=str(record.get("kind") or ""),
            name=str(record.get("name") or ""),
            model=str(record.get("model") or ""),
            done=_number(progress.get("done")),
            total=_number(progress.get("total")),
            unit=str(progress.get("unit") or ""),
            eta_seconds=record.get("eta_seconds") if isinstance(record.get("eta_seconds"), (int, float)) else None,
            headline=record["headline"] if isinstance(record.get("headline"), dict) else {},
            device=str(record.get("device") or ""),
            owner=owner,
            worker_pid=record.get("worker_pid") if isinstance(record.get("worker_pid"), int) else None,
            started=_number(record.get("started")),
            updated=_number(record.get("updated")),
            exit=record["exit"] if isinstance(record.get("exit"), dict) else {},
        )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def boot_id() -> str:
    """A name for this start of this machine, so that a pid from before a reboot is not mistaken for a live one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


def runs_root(given: Path | None = None) -> Path:
    """Where run folders live: the argument, else $INTERP_TUI_RUNS, else ./runs."""
    return (given or Path(os.environ.get("INTERP_TUI_RUNS") or "runs")).expanduser().absolute()


@dataclass(frozen=True)
class RunFolder:
    """One run folder: its files by name. Creating the value touches nothing."""

    path: Path

    @staticmethod
    def create(path: Path) -> RunFolder:
        """Make a new, private run folder. Raises UserError if the path exists or cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            for name in ("control", "shards"):
                (path / name).mkdir(mode=0o700)
        except FileExistsError:
            raise UserError(f"output folder exists: {path}", "a run folder is never overwritten; give another --out, or --resume it") from None
        except OSError as error:
            raise UserError(f"cannot make the run folder {path}: {error.strerror}", "choose a writable place with --out or --runs") from None
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """An existing run folder. Raises UserError when there is none or it holds no manifest."""
        folder = RunFolder(path.expanduser().absolute())
        if not folder.path.is_dir():
            raise UserError(f"no such run folder: {path}", "interp-tui list shows the runs there are")
        if not folder.manifest_path.is_file():
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
        status = Status.from_json(atomic.read_json(self.path / "status.json"))
        if status.state not in ACTIVE:
            return status
        alive = status.owner.alive() if status.owner else False
        if alive is None:
            alive = time.time() - status.updated < SILENT_AFTER
        if alive or (status.owner is None and time.time() - status.updated < 10):
            return status
        return replace(status, state="crashed", exit=status.exit or {"reason": "owner gone"})

    def send(self, command: Command) -> None:
        """Drop a command for the supervisor: it, and through it the worker, looks several times a second."""
        self.control.mkdir(exist_ok=True)
        atomic.write_text(self.control / command, "", durable=False)

    def take_commands(self) -> list[Command]:
        """The commands waiting, oldest first, each taken once."""
        return take_commands(self.control)


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
    return [folder for folder in folders if folder.manifest_path.is_file()]


def find_run(root: Path, text: str) -> RunFolder:
    """The run a user means by a path, a folder name, or any unambiguous part of one. Raises UserError listing the candidates."""
    path = Path(text).expanduser()
    if path.is_dir():
        return RunFolder.open(path)
    runs = find_runs(root)
    matches = [run for run in runs if run.path.name == text] or [run for run in runs if text in run.path.name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(run.path.name for run in matches[:5])
        raise UserError(f"{text!r} could be any of {len(matches)} runs: {names}", "give more of the name")
    raise UserError(f"no run named {text!r} under {root}", "interp-tui list shows the runs there are")


class EventLog:
    """Appends events to a log, one whole line each; a line torn by a kill is cut off when the log is opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq = 0
        self.copied: dict[int, int] = {}
        """For each shard, the last of its lines that stands in this log."""
        keep = 0
        if path.exists():
            with open(path, "rb") as file:
                for line in file:
                    try:
                        stamped = from_line(line) if line.endswith(b"\n") else None
                    except ValueError:
                        stamped = None
                    if stamped is None:
                        break
                    keep += len(line)
                    self.seq = stamped.seq
                    if stamped.shard is not None and stamped.shard_seq is not None:
                        self.copied[stamped.shard] = stamped.shard_seq
        self._file = open(path, "ab")  # noqa: SIM115 - closed by close()
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
        if shard is not None and shard_seq is not None:
            self.copied[shard] = shard_seq
        return stamped

    def _reopen_at(self, size: int) -> Any:
        try:
            self._file.close()
        except OSError:
            pass
        os.truncate(self.path, size)
        return open(self.path, "ab")

    def close(self) -> None:
        self._file.close()


class EventTail:
    """Reads a log as it grows, in time-boxed chunks. A truncated last line means 'not yet'."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def read(self, *, seconds: float = 0.05) -> Iterator[Stamped]:
        """The events since the last call, stopping after `seconds`; call again for the rest. Lines that are no events are passed over."""
        deadline = time.monotonic() + seconds
        try:
            file = open(self.path, "rb")  # noqa: SIM115 - closed by the with below
        except OSError:
            return
        with file:
            if os.fstat(file.fileno()).st_size < self.offset:
                self.offset = 0
            file.seek(self.offset)
            for count, line in enumerate(file):
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
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
