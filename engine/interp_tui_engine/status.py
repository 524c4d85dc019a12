"""What status.json says of a run, and whether the process that owns it still lives. Torch-free."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from .numbers import as_finite

State = Literal["queued", "running", "paused", "stopping", "done", "failed", "interrupted", "crashed"]
Command = Literal["pause", "resume", "checkpoint", "stop", "kill"]
STATES: tuple[State, ...] = get_args(State)
COMMANDS: tuple[Command, ...] = get_args(Command)
ACTIVE: frozenset[State] = frozenset({"queued", "running", "paused", "stopping"})
RESUMABLE: frozenset[State] = frozenset({"failed", "interrupted", "crashed", "queued"})

STARTED_BY = "INTERP_TUI_STARTED_BY"
"""Variable in which a supervisor says its pid to the workers that it starts on its own machine."""
SILENT_AFTER = 150.0
"""Seconds without an update after which a run owned by another host is taken for gone: its process cannot be asked from here.

NFS shows a file's content and times up to 60 s late, both on the way there and back.
"""


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
            return bool(abs(process.create_time() - self.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
        except (psutil.Error, ValueError, OverflowError):  # no such process, or a pid that cannot be one
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
    folder: str = ""
    """Where the owner runs it: a copy of the folder made meanwhile is not the run that goes on."""
    shards: tuple[dict[str, Any], ...] = ()
    """How each worker's share stands (shard, what, device, state, pid, done, total), where several share the run."""
    job: str = ""
    """The scheduler's id of the task that the owner itself runs in; empty where it is none."""
    clock_ahead: float = 0.0
    """Seconds by which the owner's clock is ahead of its file system's: by that one, other hosts judge how old `updated` is."""
    gpus: tuple[dict[str, Any], ...] = ()
    """How busy its GPUs are (device, busy: percent at the last looks, used, total, peak: bytes); empty where nobody can tell."""
    unsupervised: bool = False
    """Whether its supervisor is gone while its tasks go on: found on reading, never written."""
    in_queue: bool = False
    """Whether it waits in a queue of this machine: found on reading, never written."""
    cluster: Mapping[str, Any] = field(default_factory=dict)
    """How its tasks stand with a scheduler (scheduler, partition, jobs, waiting, running, nodes, reason, starts); empty without one."""

    @property
    def resumable(self) -> bool:
        """Whether a supervisor may go on with it, or take it over."""
        return self.state in RESUMABLE or self.unsupervised

    @property
    def fraction(self) -> float:
        return min(1.0, max(0.0, self.done / self.total)) if self.total else 0.0

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
            "folder": self.folder,
            **({"shards": list(self.shards)} if self.shards else {}),
            **({"gpus": list(self.gpus)} if self.gpus else {}),
            **({"job": self.job} if self.job else {}),
            **({"clock_ahead": round(self.clock_ahead, 3)} if abs(self.clock_ahead) > 0.1 else {}),
            **({"cluster": dict(self.cluster)} if self.cluster else {}),
        }

    @staticmethod
    def from_json(record: Any) -> Status:
        """The status in `record`; what is missing or malformed takes its default, so that a foreign file never breaks a listing."""
        if not isinstance(record, dict):
            return Status()
        progress = _table(record.get("progress"))
        owner = None
        if isinstance(record.get("pid"), int) and isinstance(record.get("host"), str):
            owner = Owner(record["host"], str(record.get("boot_id")), record["pid"], _number(record.get("created")))
        eta = record.get("eta_seconds")
        return Status(
            state=state_named(record.get("state")),
            kind=str(record.get("kind") or ""),
            name=str(record.get("name") or ""),
            model=str(record.get("model") or ""),
            done=_number(progress.get("done")),
            total=_number(progress.get("total")),
            unit=str(progress.get("unit") or ""),
            eta_seconds=None if eta is None else _number(eta),
            headline=_table(record.get("headline")),
            device=str(record.get("device") or ""),
            owner=owner,
            worker_pid=record.get("worker_pid") if isinstance(record.get("worker_pid"), int) else None,
            started=_number(record.get("started")),
            updated=_number(record.get("updated")),
            exit=_table(record.get("exit")),
            folder=record["folder"] if isinstance(record.get("folder"), str) else "",
            shards=tuple(row for row in shards if isinstance(row, dict)) if isinstance(shards := record.get("shards"), list) else (),
            gpus=tuple(row for row in gpus if isinstance(row, dict)) if isinstance(gpus := record.get("gpus"), list) else (),
            job=str(record.get("job") or ""),
            clock_ahead=_number(record.get("clock_ahead")),
            cluster=_table(record.get("cluster")),
        )


def state_named(name: object) -> State:
    """The state of this name; 'crashed' for a name that is none, since no run leaves one."""
    return name if name in STATES else "crashed"


def _number(value: Any) -> float:
    return as_finite(value) or 0.0


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def started_by() -> int:
    """The pid of the supervisor that watches over this worker: as it said itself where it started it on this machine, else the parent.

    A supervisor that is killed at once is no parent any more by the time that its worker asks.
    """
    said = os.environ.get(STARTED_BY, "")
    return int(said) if said.isdecimal() else os.getppid()


def task_here() -> str:
    """The scheduler's id of the task that this process runs in, as squeue writes it; empty outside of one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def boot_id() -> str:
    """A name for this start of this machine, so that a pid from before a reboot is not mistaken for a live one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))
