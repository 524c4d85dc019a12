"""The workers of one run, and what they say taken together: one worker, or one for each share of it and one that joins them. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, final

from .. import accelerators, catalog, cluster_settings, shards
from ..catalog import Estimate
from ..eventlog import last_events
from ..events import Event, Progress, RunFinished, RunStarted, Stamped, Warned
from ..kind import held_together
from ..manifest import Manifest
from ..runfolder import RunFolder, State
from ..shards import Assignment
from .exit_record import RESUME
from .shard_worker import Ended, ShardWorker

SHARDED_FROM = 120.0
"""Seconds that a run must be expected to take on the CPU before 'auto' shares it out: starting workers and joining them costs some ten."""

MOST_TASKS = 8
"""Tasks of a cluster that share one run where its manifest does not say how many: each loads the model again."""


def assignments_of(request: Manifest) -> list[Assignment]:
    """What each of several workers is to do; none where one worker does it all."""
    kind, devices = catalog.get(request.kind), devices_of(request)
    if kind.sharding is None or len(devices) < 2 or request.together > 1:
        return []
    if request.compute.executor == "slurm":
        return _tasks_of(request, devices)
    if request.compute.devices == "auto" and (kind.estimate(request).seconds or SHARDED_FROM) < SHARDED_FROM:
        return []
    named = request.compute.model_copy(update={"devices": devices})
    assignments = kind.sharding.assign(request.model_copy(update={"compute": named}), len(devices))
    return assignments if len(assignments) > 1 else []


def _tasks_of(request: Manifest, devices: list[str]) -> list[Assignment]:
    """The tasks that share a run on a cluster: a task is asked for because it is wanted, however short the run."""
    sharding = catalog.get(request.kind).sharding
    assert sharding is not None, "the caller looked"
    named = request.compute.model_copy(update={"devices": devices})
    assignments = sharding.assign(request.model_copy(update={"compute": named}), len(devices))
    return assignments if len(assignments) > 1 else []


def devices_of(request: Manifest) -> list[str]:
    """The devices that a run may be shared out to: those it names, all that 'auto' means on this machine, or one a task of a cluster."""
    devices = request.compute.devices
    if request.compute.executor == "slurm":
        asked = cluster_settings.settings(request)
        return ["cuda" if asked.gpus_per_task else "cpu"] * (MOST_TASKS if asked.tasks == "auto" else asked.tasks)
    if isinstance(devices, list):
        return devices
    return accelerators.for_model(request.model, accelerators.visible()) if catalog.get(request.kind).sharding else []


def of_kind(request: Manifest) -> Estimate:
    """What a run will take by its kind's own estimate, on as many devices as hold its model."""
    return held_together(catalog.get(request.kind).estimate(request), request.together)


def estimate(request: Manifest) -> Estimate:
    """What a run of one kind will take: its kind's own estimate, shared by its workers. Those on the CPU share its cores too."""
    whole, assignments = of_kind(request), assignments_of(request)
    if not assignments:
        return whole
    count, devices = len(assignments), devices_of(request)
    devices = [shards.device_of(devices, shard, count) for shard in range(count)]
    at_once = 1 if set(devices) == {"cpu"} else count
    shared = ", ".join(f"{what} on {device}" for (what, _), device in zip(assignments[:8], devices, strict=False))
    note = f"{count} workers: {shared}{', …' if count > 8 else ''}; one more joins them"
    seconds = None if whole.seconds is None else whole.seconds / at_once
    memory = None if whole.memory_bytes is None else whole.memory_bytes * count
    return Estimate(seconds, memory, whole.disk_bytes, (note, *whole.notes))


@final
class WorkerPool:
    """The workers of a run. `before` holds what is to be said first."""

    def __init__(self, folder: RunFolder, request: Manifest) -> None:
        self._request = request
        assignments = assignments_of(request)
        first = shards.of_run(folder) is None
        self.shards = shards.assign(folder, assignments) if assignments or not first else []
        self.of = max(0, len(self.shards) - 1)
        """How many workers share the run; 0 where one does all."""
        self.workers = [ShardWorker(folder, shard) for shard in range(max(1, self.of))]
        self.joiner = ShardWorker(folder, self.of) if self.of else None
        self.before = [Warned(text)] if first and (text := self._idle()) else []
        sharding = catalog.get(request.kind).sharding
        self._merge = sharding.merger(request) if sharding and self.of else None
        self._progress: dict[int, Progress] = {}
        self._ends: dict[int, Ended] = {}
        self.todo = [worker for worker in self.workers if not (self.of and worker.done_before)]
        for worker in self.workers if self.of else ():  # what earlier attempts have done counts from the start
            for stamped in last_events(worker.path / "events.jsonl"):
                self.together(worker.shard, stamped.event)

    @property
    def everyone(self) -> list[ShardWorker]:
        """The workers, and the one that joins their shares."""
        return [*self.workers, self.joiner] if self.joiner else self.workers

    @property
    def devices(self) -> list[str]:
        """The device of each worker that shares the run."""
        devices = devices_of(self._request) if self.of else []
        return [shards.device_of(devices, shard, self.of) for shard in range(self.of)]

    def _idle(self) -> str:
        devices = self._request.compute.devices
        count = max(1, self.of)
        if not isinstance(devices, list) or len(devices) <= count:  # nobody has asked for those that 'auto' leaves idle
            return ""
        idle = shards.listed(devices[count:])
        return f"there is work for {count} of the {len(devices)} devices: {idle} {'stays' if len(devices) == count + 1 else 'stay'} idle"

    def together(self, shard: int, event: Event) -> Event:
        """What a worker's event means for the run: progress adds up, estimates are merged, the devices are named together."""
        if not self.of:
            return event
        if isinstance(event, RunStarted):
            return replace(event, device=shards.listed(self.devices))
        if shard >= self.of:
            return event
        if isinstance(event, Progress):
            self._progress[shard] = event
            done, total = (sum(values) for values in zip(*((p.done, p.total) for p in self._progress.values()), strict=True))
            left = [p.eta_seconds for p in self._progress.values() if p.eta_seconds is not None and p.done < p.total]
            total *= self.of / len(self._progress)  # who has not spoken yet has as much to do as the others
            return Progress(done, total, event.unit, max(left, default=None))
        return event if self._merge is None else self._merge(shard, event)

    def news(self, worker: ShardWorker, copied: int, *, ended: bool) -> Iterator[tuple[Stamped, Event]]:
        """A worker's events after the line `copied`, each with what it means for the run. A shard's end is not the run's."""
        for stamped in worker.news(ended=ended):
            if stamped.seq > copied and not isinstance(stamped.event, RunFinished):
                yield stamped, self.together(worker.shard, stamped.event)

    def rows(self) -> tuple[dict[str, Any], ...]:
        """How each share stands, for the status; none where there is one worker."""
        rows = []
        for worker, share, device in zip(self.workers, self.shards, self.devices, strict=False):
            progress = self._progress.get(worker.shard, Progress(0, 0, ""))
            row = {"shard": worker.shard, "what": share.what, "device": device, "state": self._state(worker)}
            pid = worker.job.pid if worker.job is not None and worker.running else None
            placed = worker.job.row if worker.job is not None else {}
            rows.append({**row, "pid": pid, "done": progress.done, "total": progress.total, **placed})
        return tuple(rows)

    def _state(self, worker: ShardWorker) -> State:
        if worker not in self.todo:
            return "done"
        if worker.job is None:
            return "queued"
        if worker.running:
            return "running" if worker.job.started else "queued"
        return self.end_of(worker).state

    def end_of(self, worker: ShardWorker) -> Ended:
        """How a worker that has ended ended."""
        if worker.shard not in self._ends:
            self._ends[worker.shard] = worker.ended()
        return self._ends[worker.shard]

    def again(self, worker: ShardWorker) -> None:
        """Forget how a worker ended: it is started once more."""
        self._ends.pop(worker.shard, None)

    def missing(self) -> Ended | None:
        """How the run ends for want of shares; None when none is missing. The gravest of their ends is the run's."""
        ends = [(worker, end) for worker in self.todo if (end := self.end_of(worker)).state != "done"]
        if not ends:
            return None
        grave: tuple[State, ...] = ("failed", "crashed", "interrupted")
        refused = [(worker, end) for worker, end in ends if end.exit.get("bad_input")]
        state = "failed" if refused else min((end.state for _, end in ends), key=lambda s: grave.index(s) if s in grave else len(grave))
        those = refused[:1] or [(worker, end) for worker, end in ends if end.state == state]
        _, worst = those[0]
        if state == "interrupted" or refused:  # the same is true of all
            return Ended(state, worst.exit, {})
        devices, by_reason = self.devices, dict[str, list[str]]()
        for worker, end in those:
            who = f"shard {worker.shard} ({self.shards[worker.shard].what} on {devices[worker.shard]})"
            by_reason.setdefault(str(end.exit["reason"]), []).append(who)
        reasons = "; ".join(f"{', '.join(who)}: {reason}" for reason, who in by_reason.items())
        count = f"{len(those)} of {self.of} workers {'failed' if state == 'failed' else 'died'}"
        advice = "resume does what is missing, from its last checkpoint; what the others did is kept"
        other = {str(end.exit.get("advice") or "") for _, end in those}
        resumed = any(text.startswith("resume") or not text for text in other)
        if state == "failed" or (len(other) == 1 and not resumed):  # it said itself what would help
            advice = str(worst.exit.get("advice") or RESUME)
        return Ended(state, {**worst.exit, "reason": f"{count}: {reasons}", "advice": advice}, {})
