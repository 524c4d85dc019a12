"""What waits and what runs, of this machine's own queue and of Slurm, as the Queue screen lists it. Headless.

Reading may wait for a controller and for files of a slow disk: it is called from a thread. squeue is asked for all of the user's tasks at
once, five seconds apart at least however many screens look, and less often where it is slow to answer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder, State, Status
from interp_tui_engine.untrusted import Damaged, open_regular

from ..terminal import host
from .session import Run

if TYPE_CHECKING:
    from interp_tui_engine.supervision.executors.slurm_commands import UserTask

SQUEUE_EVERY = 5.0
SLOW = 10.0
"""How many times as long as squeue took it is not asked again."""
START_EVERY = 10.0
"""Seconds between tries to start what waits here: each asks the driver which GPUs are free."""

QueuedState = Literal["running", "queued", "held", "paused", "stopping"]


@dataclass(frozen=True)
class QueueItem:
    """A run, or one task of a run, that waits or runs.

    where: node or device. why: why it waits. starts: when it is expected to start, or began. elapsed, left: of its time limit, or of what
    it takes here. gpus: how busy those that it computes on are. logs: what it writes to, and its batch script's own output. position: its
    place in the queue here, from 1.
    """

    key: str
    scheduler: Literal["here", "slurm"]
    state: QueuedState
    name: str
    task: str = ""
    folder: RunFolder | None = None
    job: str = ""
    partition: str = ""
    where: str = ""
    why: str = ""
    starts: str = ""
    elapsed: str = ""
    left: str = ""
    gpus: tuple[Mapping[str, Any], ...] = ()
    logs: tuple[Path, ...] = ()
    position: int = 0


@dataclass(frozen=True)
class QueueNow:
    """All that waits and runs. paused: whether this machine's queue starts no more. silent: why Slurm does not answer, if it does not."""

    items: tuple[QueueItem, ...] = ()
    paused: bool = False
    silent: str = ""


class QueueLook:
    """Looks at both queues; one for the whole app."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: list[UserTask] = []
        self._silent = ""
        self._next_squeue = self._next_start = 0.0
        self._submissions: dict[str, tuple[str, ...]] = {}

    def read(self, listed: Sequence[Run]) -> QueueNow:
        """How the queues stand; `listed` are the runs of the app's folder as last read. Starts what can be started here."""
        from interp_tui_engine import run_queue

        with self._lock:
            waiting, paused = run_queue.waiting(), run_queue.is_paused()
            if waiting and not paused and time.monotonic() >= self._next_start:
                self._next_start = time.monotonic() + START_EVERY
                _start_waiting()
                waiting = run_queue.waiting()
            wait = {folder.path for folder in waiting}
            others = [run for run in listed if run.folder.path not in wait]
            here = [*running_here(run_queue.running(), others), *waiting_here(waiting, paused)]
            self._ask_slurm()
            return QueueNow((*here, *(self._slurm_item(task) for task in self._tasks)), paused, self._silent)

    def _ask_slurm(self) -> None:
        from interp_tui_engine.supervision.executors import slurm_commands

        begun = time.monotonic()
        if begun < self._next_squeue or shutil.which("squeue") is None:
            return
        try:
            self._tasks, self._silent = slurm_commands.of_this_program(), ""
        except slurm_commands.Unreachable as error:
            self._silent = str(error)  # what was known stays: nothing is concluded from silence
        self._next_squeue = time.monotonic() + max(SQUEUE_EVERY, SLOW * (time.monotonic() - begun))

    def _slurm_item(self, task: UserTask) -> QueueItem:
        folder = RunFolder(task.script.parent.parent) if task.script.parent.name == "slurm" else None
        name, log = self._task_of(task, folder) if folder is not None else ("", None)
        own = [folder.path / "slurm" / f"{task.id}.out"] if folder is not None else []
        return QueueItem(
            key=f"slurm {task.id}",
            scheduler="slurm",
            state="held" if task.held else "queued" if task.waiting else "running",
            name=folder.path.name if folder is not None else task.script.name,
            task=name,
            folder=folder,
            job=task.id,
            partition=task.partition,
            where=task.node,
            why=reason_of(task),
            starts="" if task.starts in ("N/A", "") else task.starts.replace("T", " ")[:16],
            elapsed="" if task.waiting else task.elapsed,
            left="no limit" if task.left == "UNLIMITED" else "" if task.left in ("INVALID", "NOT_SET") else task.left,
            gpus=gpus_of(folder, name) if folder is not None and not task.waiting else (),
            logs=tuple([folder.path / log, *own] if folder is not None and log else own),
        )

    def _task_of(self, task: UserTask, folder: RunFolder) -> tuple[str, str | None]:
        """What the run calls the task, and where its log is, from what its supervisor noted when it submitted it."""
        if task.comment not in self._submissions:
            record = _table(atomic.read_json(folder.path / "slurm" / "submissions.json"))
            for entry in filter(None, map(_table, _list(record.get("submissions")))):
                self._submissions[str(entry.get("comment"))] = tuple(map(str, _list(entry.get("tasks"))))
        names = self._submissions.get(task.comment, ())
        index = task.id.partition("_")[2]
        name = names[int(index)] if index.isdecimal() and int(index) < len(names) else ""
        return name, log_of(name)


def reason_of(task: UserTask) -> str:
    """Why a task waits, in Slurm's own word, but for what everybody calls held."""
    if not task.waiting or task.reason == "None":
        return ""
    return {"JobHeldUser": "held", "JobHeldAdmin": "held by an administrator"}.get(task.reason, task.reason)


def log_of(task: str) -> str | None:
    """The log of a task, beside its run folder: of a shard's worker, or of a point's or step's supervisor."""
    if task.startswith("shard "):
        return f"shards/{task.removeprefix('shard ')}/engine.log"
    return f"{task}/supervisor.log" if task else None


def gpus_of(folder: RunFolder, task: str) -> tuple[Mapping[str, Any], ...]:
    """How busy the GPUs of a running task are, as its worker notes them, or the supervisor of a point or step in its status."""
    if not task.startswith("shard "):
        return RunFolder(folder.path / task).status().gpus if task else ()
    from interp_tui_engine import gpu_use

    rows = atomic.read_json(folder.path / "shards" / task.removeprefix("shard ") / gpu_use.FILE)
    return tuple(row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


def running_here(of_queue: Mapping[str, RunFolder], listed: Sequence[Run]) -> list[QueueItem]:
    """The runs that this machine computes: those that its queue has started, wherever their folders are, and the others of this list."""
    devices = {folder.path: device for device, folder in of_queue.items()}
    runs = {run.folder.path: run.status for run in listed if _is_here(run)}
    runs |= {path: RunFolder(path).status() for path in devices if path not in runs}
    return [_running_item(RunFolder(path), status, devices.get(path, "")) for path, status in runs.items()]


def _is_here(run: Run) -> bool:
    status = run.status
    return run.active and not status.cluster and not status.job and status.owner is not None and status.owner.host == socket.gethostname()


def _running_item(folder: RunFolder, status: Status, device: str) -> QueueItem:
    states: dict[State, QueuedState] = {"paused": "paused", "stopping": "stopping"}
    shards = tuple(sorted(folder.path.glob("shards/*/engine.log")))[:1]
    place = status.device or (f"cuda:{device}" if device.isdecimal() else device)
    return QueueItem(
        key=f"here {folder.path}",
        scheduler="here",
        state=states.get(status.state, "running"),
        name=folder.path.name,
        task="from the queue" if device else "",
        folder=folder,
        where=place,
        elapsed=host.duration(host.now() - status.started) if status.started else "",
        left=f"~{host.duration(status.eta_seconds)}" if status.eta_seconds is not None else "",
        gpus=status.gpus,
        logs=(*shards, folder.path / "supervisor.log"),
    )


def waiting_here(waiting: Sequence[RunFolder], paused: bool) -> list[QueueItem]:
    """The runs that wait for a device of this machine, in order."""
    return [
        QueueItem(
            key=f"here {folder.path}",
            scheduler="here",
            state="held" if paused else "queued",
            name=folder.path.name,
            folder=folder,
            why="the pause" if paused else "a free device",
            logs=(folder.path / "supervisor.log",),
            position=place,
        )
        for place, folder in enumerate(waiting, start=1)
    ]


def tail(logs: Sequence[Path], lines: int, size: int = 1 << 14) -> list[str]:
    """The last lines of the first log that holds any; none where nothing was written yet."""
    for path in logs:
        try:
            with open_regular(path) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - size))
                text = file.read(size).decode("utf-8", "replace")
        except (OSError, Damaged):
            continue
        if text.strip():
            return [line for line in text.splitlines() if line.strip()][-lines:]
    return []


def _start_waiting() -> None:
    """Whoever looks at the queue keeps it going."""
    from interp_tui_engine import run_queue, supervisor

    with contextlib.suppress(UserError, OSError):
        run_queue.advance(supervisor.launch)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
