"""Supervises a sweep: a child run for each of its points, some side by side, each a run folder of its own. Torch-free.

    <sweep folder>/points/000/  001/  …       run folders like any other: they can be opened, exported, compared

A point that fails costs only itself. A sweep that was stopped or killed goes on where it was: points that are done are not run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from .. import accelerators, atomic, resource_use
from ..catalog import Estimate
from ..events import Metrics, Progress, RunStarted, Warned
from ..manifest import Manifest, points_of
from ..results.sweep import PointRecord, SweepHeadline, SweepResult
from ..runfolder import ACTIVE, RunFolder, State, Status, take_commands
from ..sweep import KIND, Point
from . import worker_pool
from .child_runs import ChildRuns, digests_of, fraction_of, interrupted_with, status_of
from .run_recorder import RunRecorder
from .sweep_report import markdown

UNRESULTS = ("kind", "name", "schema_version")


@dataclass(frozen=True)
class Child:
    """One point: its values, its manifest, and where it runs."""

    point: Point
    request: Manifest
    folder: RunFolder


@final
class SweepSupervisor:
    """One supervised sweep."""

    def __init__(self, recorder: RunRecorder, children: ChildRuns[int]) -> None:
        self.recorder = recorder
        self.folder = recorder.folder
        root = self.folder.path / "points"
        self.points = [Child(p, request, RunFolder(root / p.name)) for p, request in points_of(recorder.request)]
        self._known: list[Status] = []
        """How each point stands: as it ended, as its file said last while it runs, as an earlier attempt left it."""
        self._waiting: list[Child] = []
        self._devices = _devices(self.recorder.request, accelerators.usable)
        # on a cluster every point is a task: how many run at once is for the scheduler to say
        self._slots = len(self.points) if recorder.request.compute.executor == "slurm" else max(1, len(self._devices))
        self._busy: dict[int, Child] = {}
        """What runs in each slot; a slot is a device, or the machine."""
        self.children = children
        """Those that run, by slot."""

    def run(self) -> Status:
        take_commands(self.folder.control)
        self.recorder.write_status(force=True)
        self.recorder.note(RunStarted(KIND, self.recorder.request.name, resumed=self.recorder.log.seq > 0))
        if text := _left_out(self.recorder.request, self._devices):
            self.recorder.note(Warned(text))
        self._known = [status_of(child.folder) for child in self.points]
        for child, status in zip(self.points, self._known, strict=True):
            if status.state == "done":
                self._tell(child, status)
            else:
                self._waiting.append(child)
        return self.children.attend(self._loop) or self._finish()

    def _loop(self) -> None:
        self._progress()
        while self._busy or (self._waiting and not self.children.stopping):
            self._start_more()
            if (ended := self.children.ended()) is not None:
                slot, status = ended
                self._tell(self._busy.pop(slot), status)
            self._progress()
            if self._waiting:
                self.children.get_ready(self._waiting[0].request.kind, [self._known[child.point.index] for child in self._busy.values()])
            self.recorder.write_status()
            self.children.obey()

    def _start_more(self) -> None:
        for slot in range(self._slots):
            # a point keeps to its slot's device, so that what it computes does not depend on which of them was free first
            next_one = next((child for child in self._waiting if child.point.index % self._slots == slot), None)
            if slot not in self._busy and next_one is not None and not self.children.stopping and not self.children.paused:
                self._waiting.remove(next_one)
                self._busy[slot] = next_one
                self.children.start(slot, next_one.folder, partial(_request_of, next_one, self._devices))

    def _tell(self, child: Child, status: Status) -> None:
        """One point has ended: into the log, with its numbers."""
        self._known[child.point.index] = status
        self.recorder.note(Metrics("case", child.point.index, _row(child, status).as_json()))
        if status.state not in ("done", "interrupted"):
            values = ", ".join(f"{key} = {value}" for key, value in child.point.values.items())
            self.recorder.note(
                Warned(f"point {child.point.name} ({values}) {status.state}: {status.exit.get('reason') or 'no reason given'}")
            )

    def _progress(self) -> None:
        for slot, child in self._busy.items():  # only theirs change: a thousand files read ten times a second would keep a core busy
            self._known[child.point.index] = self.children.status(slot)
        statuses = self._known
        done = sum(1.0 if s.state not in {*ACTIVE, "interrupted", "crashed"} else fraction_of(s) for s in statuses)
        ended = sum(s.state not in ACTIVE for s in statuses)
        if (now := round(done, 2)) != self.recorder.status.done or not self.recorder.status.total:
            passed = time.time() - self.recorder.started
            fresh = done - sum(1.0 for s in statuses if s.state == "done" and s.updated < self.recorder.started)
            eta = passed / fresh * (len(statuses) - done) if fresh > 0 else None
            self.recorder.note(Progress(now, len(statuses), "points", eta))
            self.recorder.note(Metrics("headline", 0, SweepHeadline(points=len(statuses), ended=ended).as_json()))

    def _finish(self) -> Status:
        rows = [_row(child, status) for child, status in zip(self.points, self._known, strict=True)]
        by_state = {state: [row for row in rows if row.state == state] for state in {row.state for row in rows}}
        headline = SweepHeadline(points=len(rows), done=len(by_state.get("done", []))).as_json()
        request, seconds = self.recorder.request, time.time() - self.recorder.started
        values = SweepResult(
            kind=KIND, of=request.kind, name=request.name, schema_version=1, axes=request.sweep, points=tuple(rows), seconds=seconds
        ).as_json()
        atomic.write_json(self.folder.result_path, values)
        atomic.write_text(self.folder.report_path, markdown(self.folder.path, request, values["points"]))
        state, exit_info = _ending(by_state, stopped=self.children.stopping)
        self.recorder.provenance |= {"cluster": dict(placed)} if (placed := self.children.places()) else {}
        folders = [child.folder for child in self.points]
        memory = resource_use.of_children(folders, min(self._slots, len(folders)))
        self.recorder.finish(state, exit_info, headline, dict(digests_of(self.folder, folders)), seconds, memory)
        return self.recorder.status


def _devices(request: Manifest, gpus: Callable[[], Sequence[str]]) -> list[str]:
    """What the points are dealt out to: the devices named, or all GPUs where neither they nor the points name any; else the machine."""
    if isinstance(request.compute.devices, list):
        return request.compute.devices
    placed = request.model is None or "model.device" in request.sweep or request.compute.executor == "slurm"
    devices = [] if placed else accelerators.for_model(request.model, gpus())
    whole = len(devices) // request.together * request.together  # a point has that many from the first of its own on
    return devices[: whole : request.together] if whole else devices[:1]


def _left_out(request: Manifest, devices: Sequence[str]) -> str:
    """What to say where the driver lists GPUs for points that torch cannot use; empty where it can use them all."""
    dropped = [name for name in _devices(request, accelerators.visible) if name not in devices]
    return f"torch cannot use {', '.join(dropped)}, which the driver lists: no point runs there" if dropped else ""


def _request_of(child: Child, devices: Sequence[str]) -> Manifest:
    """A point's manifest. With several devices it keeps to one: a device a point serves a sweep better than all for each point in turn."""
    request = child.request
    if len(devices) < 2 or request.model is None:
        return request
    device = devices[child.point.index % len(devices)]
    return request.model_copy(update={"model": request.model.model_copy(update={"device": device})})


def _row(child: Child, status: Status) -> PointRecord:
    """A point as result.json and the log hold it: its values, how it ended, and every single number or word of its result."""
    result = child.folder.result() if status.state == "done" else None
    scalars = {k: v for k, v in (result or {}).items() if k not in UNRESULTS and (v is None or isinstance(v, (int, float, str)))}
    return PointRecord(
        index=child.point.index,
        values=dict(child.point.values),
        state=status.state,
        folder=f"points/{child.point.name}",
        headline=dict(status.headline),
        result=scalars,
        reason=str(status.exit.get("reason") or ""),
    )


def _ending(by_state: Mapping[str, Sequence[PointRecord]], *, stopped: bool) -> tuple[State, dict[str, Any]]:
    """How a sweep ended whose points ended so."""
    done, failed = len(by_state.get("done", [])), by_state.get("failed", [])
    unfinished = sum(len(rows) for state, rows in by_state.items() if state not in ("done", "failed"))
    if stopped and unfinished:
        return interrupted_with(unfinished, "points")
    if unfinished:
        reason = f"{unfinished} of {done + len(failed) + unfinished} points crashed"
        return "failed", {"code": 1, "reason": reason, "advice": "resume runs them again; the other points are kept"}
    if not done:
        return "failed", {
            "code": 1,
            "reason": f"every point failed; the first: {failed[0].reason}",
            "advice": "open a point to see its log",
        }
    return "done", {"code": 0}


def estimate(request: Manifest) -> Estimate:
    """What a run will take: its kind's own estimate, or for a sweep those of its points, as many at once as there are devices."""
    points = points_of(request)
    if not points:
        return worker_pool.estimate(request)
    estimates = [worker_pool.of_kind(each) for _, each in points]
    slots = max(1, len(_devices(request, accelerators.visible)))  # at once: whether torch can use them takes seconds to ask

    def of(pick: Callable[[Estimate], float | None], join: Callable[[list[float]], float]) -> float | None:
        values = [value for each in estimates if (value := pick(each)) is not None]
        return join(values) if len(values) == len(estimates) else None

    seconds = of(lambda each: each.seconds, lambda values: sum(values) / slots)
    memory = of(lambda each: each.memory_bytes, lambda values: max(values) * slots)
    disk = of(lambda each: each.disk_bytes, sum)
    notes = tuple(dict.fromkeys(note for each in estimates for note in each.notes))
    whole = [None if value is None else int(value) for value in (memory, disk)]
    return Estimate(seconds, whole[0], whole[1], (f"{len(points)} runs" + (f", {slots} at a time" if slots > 1 else ""), *notes))
