"""Child runs as tasks of a scheduler: each runs the child's own supervisor on its node. Torch-free.

The child's folder is complete by itself: its log, status and manifest are written on the node, also while nobody watches from here, and
one process here follows a thousand of them by squeue and by their status files. Within its task a child is an ordinary local run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import final

from .. import atomic
from ..errors import UserError
from ..events import Warned
from ..manifest import Manifest
from ..runfolder import ACTIVE, EventTail, RunFolder, Status
from .child_runs import ChildRuns, Key, Prepare, refused, status_of
from .executors.choose import executor_of
from .executors.executor import Loss, StartedTask, Task, TaskExecutor
from .exit_record import loss_record
from .run_recorder import Listener, RunRecorder

SILENT = Loss("its supervisor on the node ended without a word", "its supervisor.log may say more", again=True)


@dataclass
class _Child:
    """A child that waits to be submitted (no job yet) or has been."""

    folder: RunFolder
    listen: Listener
    task: Task
    job: StartedTask | None = None
    status: Status = field(default_factory=Status)
    read_at: float = 0.0
    tail: EventTail | None = None


def child_command(folder: RunFolder) -> list[str]:
    """The command that runs a child on its node: that of any detached run."""
    return [sys.executable, "-P", "-m", "interp_tui_engine.supervisor", str(folder.path)]


@final
class ChildTasks(ChildRuns[Key]):
    """The children of one run that are tasks of a scheduler. Those started in one go are submitted together, as one array."""

    def __init__(self, recorder: RunRecorder, interrupts: list[int], prepare: Prepare, environment: Callable[[], dict[str, str]]) -> None:
        super().__init__(recorder, interrupts)
        self._prepare, self._environment = prepare, environment
        self._executor: TaskExecutor = executor_of(recorder.folder, recorder.request)
        self.tick = self._executor.tick
        self._children: dict[Key, _Child] = {}
        self._done: list[tuple[Key, Status]] = []

    def start(self, key: Key, folder: RunFolder, request: Callable[[], Manifest], listen: Listener | None = None) -> None:
        self.running[key] = folder
        try:
            if not folder.manifest_path.exists():
                self._prepare(local(request()), folder.path)
        except UserError as error:
            self._done.append((key, refused(error)))
            return
        name = folder.path.relative_to(self.recorder.folder.path).as_posix()
        task = Task(name, child_command(folder), self._environment(), folder.path / "status.json", folder.path / "supervisor.log")
        child = _Child(folder, listen or (lambda stamped: None), task, tail=EventTail(folder.events_path) if listen else None)
        child.job = self._executor.adopt(task)
        self._children[key] = child

    def ended(self) -> tuple[Key, Status] | None:
        if not self._done:
            self._submit()
            for key in list(self._children):
                self._look(key)
            self.recorder.status = replace(self.recorder.status, cluster=self._executor.summary())
        if not self._done:
            time.sleep(self.tick)
            return None
        key, status = self._done.pop(0)
        self.running.pop(key)
        return key, status

    def _submit(self, avoid: Mapping[Key, str] | None = None) -> None:
        """Submit the children that are new, as one array; each that lost a node apart from them, since it avoids that node."""
        waiting = [key for key, child in self._children.items() if child.job is None]
        groups: dict[str, list[Key]] = {}
        for key in waiting:
            groups.setdefault((avoid or {}).get(key, ""), []).append(key)
        for node, keys in groups.items():
            try:
                jobs = self._executor.submit([self._children[key].task for key in keys], avoid=[node] if node else [])
            except UserError as error:
                for key in keys:
                    self._end(key, refused(error))
                continue
            for key, job in zip(keys, jobs, strict=True):
                self._children[key].job = job

    def _look(self, key: Key) -> None:
        child = self._children[key]
        _hear(child)
        assert child.job is not None, "those that are new have been submitted"
        if child.job.running:
            return
        _hear(child, ended=True)
        status, loss = _how_it_ended(child, self.asked), child.job.loss
        again = loss.again if loss is not None else status.state in ("crashed", "interrupted") or bool(status.exit.get("elsewhere"))
        if again and status.state != "done" and not self.stopping and self._executor.may_retry(child.task.name):
            node = str(child.job.row.get("node") or "") if status.state != "interrupted" else ""
            where = f", not to {node}" if node else ""
            self.recorder.note(Warned(f"{child.task.name}: {status.exit.get('reason')}; submitted again{where}"))
            child.job = None
            self._submit({key: node})
            return
        self._end(key, status)

    def _end(self, key: Key, status: Status) -> None:
        self._done.append((key, status))
        del self._children[key]

    def status(self, key: Key) -> Status:
        """How a child stands, read now and then: a thousand files read every second would keep a core busy."""
        child = self._children.get(key)
        if child is None or child.job is None or not child.job.started:
            return Status(state="queued")
        now = time.monotonic()
        if now - child.read_at > max(self.tick, len(self._children) * 0.01):
            child.status, child.read_at = status_of(child.folder), now
        return child.status

    def get_ready(self, kind: str, running: Iterable[Status]) -> None:
        return

    def places(self) -> Mapping[str, object]:
        return self._executor.provenance()

    def _stop_waiting(self) -> None:
        for key, child in list(self._children.items()):
            if child.job is None:
                self._end(key, Status(state="interrupted"))
            elif not child.job.started:
                child.job.cancel()

    def _terminate(self, key: Key) -> None:
        child = self._children.get(key)
        if child is not None and child.job is not None:
            child.job.cancel()


def local(request: Manifest) -> Manifest:
    """The manifest of a child as it runs within its task: on the machine where that is."""
    return request.model_copy(update={"compute": request.compute.model_copy(update={"executor": "local", "slurm": None})})


def _hear(child: _Child, *, ended: bool = False) -> None:
    """Tell the listener what the child has logged since the last time: some of it, or, once it has ended, all that is left."""
    while child.tail is not None:
        before = child.tail.offset
        for stamped in child.tail.read():
            child.listen(stamped)
        if not ended or child.tail.offset == before:
            return


def _how_it_ended(child: _Child, asked: list[str]) -> Status:
    """What the child's own supervisor wrote last, and what the scheduler says where that could not tell."""
    assert child.job is not None, "it has ended"
    status, loss = Status.from_json(atomic.read_json(child.folder.path / "status.json")), child.job.loss
    if status.job != child.job.id or status.state in ACTIVE:
        state, exit_info = loss_record(loss or SILENT, {}, asked)
        return replace(status, state=state, exit=exit_info)
    if status.state == "interrupted" and loss is not None:
        return replace(status, exit=loss_record(loss, {"state": "interrupted", **status.exit}, asked)[1])
    return status
