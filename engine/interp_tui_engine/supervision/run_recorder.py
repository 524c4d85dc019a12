"""Keeps one run's log and status: what a supervisor writes, whatever it supervises. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, final

from .. import atomic, expected_time, lease, manifest, provenance, resource_use, untrusted
from ..eventlog import device_type
from ..events import Event, Metrics, Progress, RunFinished, RunStarted, Stamped, Warned
from ..kind import Estimate
from ..runfolder import EventLog, Owner, RunFolder, State, Status
from ..status import task_here

Listener = Callable[[Stamped], None]
STATUS_EVERY = 0.5
BITS = "the last bits of its numbers may differ from those of one type of device"


@final
class RunRecorder:
    """The only writer of a run's events.jsonl and status.json, for as long as its supervisor holds the lock."""

    def __init__(self, folder: RunFolder, listen: Listener, estimate: Callable[[manifest.Manifest], Estimate]) -> None:
        self.folder = folder
        self._estimate = estimate
        self.listen = listen
        self.request = manifest.load(folder.manifest_path)
        self.resolved = self.request
        before = Status.from_json(atomic.read_json(folder.path / "status.json"))
        folder.queued_path.unlink(missing_ok=True)
        self.log = EventLog(folder.events_path)
        self.started = time.time()
        self.provenance: dict[str, Any] = {}
        self.status = replace(
            before,
            state="running",
            kind=self.request.run_kind,
            name=self.request.name,
            owner=Owner.me(),
            folder=str(folder.path.absolute()),
            worker_pid=None,
            started=before.started or self.started,
            exit={},
            job=task_here(),
            cluster={},
            gpus=(),
        )
        self._written = 0.0
        self.estimate: Estimate | None = None
        """What was expected of the run when it began; `expect` finds it out."""

    def expect(self) -> None:
        """Note what the run is expected to take, as --dry-run says it; of a child of another run by its operations alone.

        Called once signals are heard: it imports the kind and looks at past runs. A fault of an estimate is no fault of the run.
        """
        if self.estimate is not None:
            return
        self.estimate = Estimate(None, None, None)
        with suppress(Exception):
            of_another = self.folder.path.parent.name in ("points", "steps")
            root = self.folder.path.parent
            of_request = self._estimate
            self.estimate = of_request(self.request) if of_another else expected_time.expected(self.request, root, of_request)

    def note(self, event: Event, **stamp: Any) -> None:
        """Log an event, tell the listener, and take into the status what it says."""
        before = dict(self.log.computed_on)
        self.listen(self.log.append(event, **stamp))
        if isinstance(event, RunStarted):
            self._watch_device(before, event, stamp.get("shard"))
            self.provenance |= {key: value for key, value in event.provenance.items() if key != "compute"}
            if choices := event.provenance.get("compute"):
                # what the worker chose is part of the request from now on: a replay must not choose differently
                self.resolved = self.resolved.model_copy(update={"compute": self.resolved.compute.model_copy(update=choices)})
            self.status = replace(self.status, device=event.device or self.status.device)
        elif isinstance(event, Progress):
            self.status = replace(self.status, done=event.done, total=event.total, unit=event.unit, eta_seconds=event.eta_seconds)
        elif isinstance(event, Metrics) and event.series == "headline":
            self.status = replace(self.status, headline=dict(event.values))

    def _watch_device(self, before: Mapping[int | None, str], event: RunStarted, shard: int | None) -> None:
        """Say so where a run goes on, or is shared, on another type of device: the last bits of its numbers depend on it."""
        now = device_type(event.provenance)
        if len(self.log.device_types) > 1:
            self.provenance["device_types"] = sorted(self.log.device_types)
        others = {*before.values()} - {now}
        if not now or not others or before.get(shard) == now:
            return
        earlier = before.get(shard)
        what = f"goes on, on {now}, with what {earlier} had begun" if earlier else f"computes on {now}, another part on {min(others)}"
        self.note(Warned(f"{'the run' if shard is None else f'shard {shard}'} {what}; {BITS}"))

    def state(self, state: State) -> None:
        """Say at once that the run is in another state."""
        self.status = replace(self.status, state=state)
        self.write_status(force=True)

    def write_status(self, *, force: bool = False) -> None:
        """Write the status, unless that was done a moment ago."""
        now = time.time()
        if force or now - self._written >= STATUS_EVERY:
            self._written = now
            self.status = replace(self.status, updated=now, clock_ahead=lease.ahead(self.folder.path))
            self.folder.write_status(self.status)

    def finish(
        self,
        state: State,
        exit_info: dict[str, Any],
        headline: Mapping[str, Any],
        digests: Mapping[str, str],
        seconds: float,
        memory: int | None = None,
        gpu_memory: Iterable[int] = (),
    ) -> None:
        """Say how it ended, in the manifest, the log and the status, in that order: a status of 'done' promises the rest.

        memory: bytes that its processes had together. gpu_memory: the most that was in use on each of its GPUs.
        """
        if state == "done":
            resource_use.write(self.folder, self.estimate or Estimate(None, None, None), seconds, memory, gpu_memory)
        types = self.provenance.get("device_types")
        if state == "done" and types and self.folder.report_path.exists():
            report = self.folder.report_path.read_text(encoding="utf-8")
            atomic.write_text(self.folder.report_path, f"{report}\n## Where it ran\n\nOn {' and on '.join(types)}: {BITS}.\n")
        recorded = {"provenance": self._first_provenance() | self.provenance | provenance.times(self.status.started)}
        if state == "done":
            recorded["result"] = {"headline": dict(headline), "sha256": dict(digests)}
        atomic.write_text(self.folder.manifest_path, self.resolved.to_toml(**recorded))
        if state == "crashed":
            self.note(Warned(exit_info["reason"]))
        self.note(RunFinished(state, seconds, headline, exit_info.get("reason", ""), exit_info.get("advice", "")))
        self.status = replace(self.status, state=state, headline=dict(headline), exit=exit_info, eta_seconds=None)
        self.write_status(force=True)
        self.log.close()

    def _first_provenance(self) -> dict[str, Any]:
        """What was recorded when the run was first asked for: a resumed run keeps the hash of the request it began with."""
        before = (untrusted.table_or_none(self.folder.manifest_path) or {}).get("provenance")
        return before if isinstance(before, dict) else provenance.of_start(self.request)
