"""Tasks as array tasks of Slurm, over a run folder that all nodes see. Nothing listens anywhere; nothing is pickled. Torch-free.

    slurm/submissions.json   what was submitted, written before and after each sbatch, so that no task is lost or submitted twice
    slurm/queue.json         how the tasks stood at the last look: what screens show
    slurm/<n>.sh             the batch scripts; slurm/<job>_<task>.out what they said themselves

A task's own file (exit.json of a shard, status.json of a run) says how it ended, squeue only that it has. It is asked for all tasks of a
run at once, every five seconds at most. Where it does not answer, nothing is concluded from that.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

from ... import atomic
from ...cluster_settings import settings as settings_of
from ...errors import UserError
from ...eventlog import last_events
from ...manifest import Manifest
from ...runfolder import RunFolder
from ...status import ACTIVE
from . import sbatch_script, shared_folder, slurm_commands
from .executor import Loss, StartedTask, Task, TaskExecutor
from .slurm_commands import QueueRow, Unreachable
from .submissions import Submissions

POLL = 5.0
"""Seconds between two questions to squeue."""
SEEN_LATE = 75.0
"""Seconds after a task's end until its last file is seen by everyone: NFS keeps a folder's entries for up to 60."""
SEEN_LATE_KILLED = 15.0
"""The same for a task that Slurm says it killed: it most likely left none."""
READS_A_SECOND = 100
"""Files of tasks that are read in a second, at most."""
UNANSWERED = 120.0
"""Seconds that a supervisor which takes over waits for squeue to say which tasks go on."""
NEVER_LEFT = frozenset({"TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "PREEMPTED", "CANCELLED", "DEADLINE"})
LOSSES = {
    "TIMEOUT": Loss("it reached its time limit", "raise compute.slurm.time", again=True),
    "PREEMPTED": Loss("it was preempted", "resume goes on from the last checkpoint", again=True),
    "NODE_FAIL": Loss("its node failed", "resume goes on from the last checkpoint", again=True),
    "BOOT_FAIL": Loss("its node did not start", "resume goes on from the last checkpoint", again=True),
    "OUT_OF_MEMORY": Loss("it used more memory than a task may", "raise compute.slurm.mem", again=False),
    "DEADLINE": Loss("its deadline has passed", "submit it without --deadline", again=False),
    "CANCELLED": Loss("it was cancelled in Slurm", "resume goes on from the last checkpoint", again=False, cancelled=True),
}
SHARE = "put runs on a file system that all nodes share: --runs DIR or $INTERP_TUI_RUNS"
PROBED = "the nodes of the partition have another file system there, so that none of the run's tasks was started"
GONE = Loss("Slurm does not know it any more", "resume goes on from the last checkpoint", again=True)


@final
class SlurmJob(StartedTask):
    """One array task."""

    order_patience = 120.0  # a command file may be seen late, and a step on a large model takes its time

    def __init__(self, executor: SlurmExecutor, identity: str, task: Task) -> None:
        self.id = identity
        self.task = task
        self._executor = executor
        self.ended = False
        self._gone_since: float | None = None
        self._seen_since: float | None = None
        self._finished = False
        self._next_look = 0.0

    @property
    def slurm(self) -> QueueRow | None:
        """What squeue said last."""
        return self._executor.rows.get(self.id)

    @property
    def running(self) -> bool:
        if not self.ended:
            self._executor.look()
            self.ended = self._has_ended()
        return not self.ended

    def _has_ended(self) -> bool:
        gone = self._executor.is_gone(self.id)
        if self.finished(now=gone):
            return True
        if not gone:
            self._gone_since = None
            return False
        self._gone_since = self._gone_since or time.monotonic()
        killed = self.slurm is not None and self.slurm.state in NEVER_LEFT
        return time.monotonic() - self._gone_since > (SEEN_LATE_KILLED if killed else SEEN_LATE)

    def finished(self, *, now: bool = True) -> bool:
        """Whether its own file says that it has ended. Of a thousand tasks each is read every ten seconds, unless asked `now`."""
        if not self._finished and (now or time.monotonic() >= self._next_look):
            self._next_look = time.monotonic() + len(self._executor.jobs) / READS_A_SECOND
            record = atomic.read_json(self.task.record)
            state = record.get("state") if isinstance(record, dict) and self.left(record) else "running"
            if state not in ACTIVE and not self._log_is_seen(record):
                return False
            if state == "interrupted":  # most likely preempted, and about to be queued again: squeue decides
                return self._executor.is_gone(self.id)
            self._finished = state not in ACTIVE
        return self._finished

    def _log_is_seen(self, record: dict[str, Any]) -> bool:
        """Whether all that the task logged is seen here: its exit.json, written last, may be seen first."""
        seq = record.get("seq")
        if not isinstance(seq, int):
            return True
        self._seen_since = self._seen_since or time.monotonic()
        tail = last_events(self.task.record.with_name("events.jsonl"), size=1 << 16)
        return (tail[-1].seq if tail else 0) >= seq or time.monotonic() - self._seen_since > SEEN_LATE

    @property
    def started(self) -> bool:
        return self.slurm is not None and not self.slurm.waiting

    @property
    def pid(self) -> int | None:
        return None

    @property
    def exit_code(self) -> int | None:
        return slurm_commands.exit_code(self.id) if self.slurm is not None and not self.finished() else None

    def left(self, record: Mapping[str, Any]) -> bool:
        return record.get("job") == self.id

    def signal(self, number: signal.Signals) -> None:
        slurm_commands.cancel([self.id], number)

    def wake(self) -> None:
        return  # a task that is suspended waits for its scheduler

    def cancel(self) -> None:
        slurm_commands.cancel([self.id])

    @property
    def loss(self) -> Loss | None:
        if self.finished() and not (self.slurm and self.slurm.state == "CANCELLED"):
            return None
        if self.slurm is None:
            return GONE
        if self.slurm.state == "CANCELLED" and self._executor.unseen:
            return Loss(f"a probe task did not see the run folder: {PROBED}", SHARE, again=False)
        if self.slurm.state in ("FAILED", "COMPLETED") and not self._executor.output_of(self.id).exists():
            what = f"{self.slurm.node or 'its node'} does not see the run folder: nothing of what it wrote is there"
            return Loss(what, SHARE, again=False)
        return LOSSES.get(self.slurm.state)

    @property
    def row(self) -> Mapping[str, Any]:
        row = self.slurm
        return {"job": self.id} if row is None else {"job": self.id, "slurm": row.state, "reason": row.reason, "node": row.node}


@final
class SlurmExecutor(TaskExecutor):
    """Submits the tasks of one run and asks after them."""

    tick = 1.0

    def __init__(self, folder: RunFolder, request: Manifest) -> None:
        self._folder = folder
        self._name = f"{request.run_kind}-{request.name}"
        self.settings = settings_of(request)
        self._place = folder.path / "slurm"
        self._submissions = Submissions(self._place)
        self.rows: dict[str, QueueRow] = {}
        self.jobs: dict[str, SlurmJob] = {}
        self._probe_job, self._remembered = "", False
        self._tries: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        """How often squeue has answered without naming a task since it was submitted."""
        self._asked = -POLL
        self._interval = POLL

    def adopt(self, task: Task) -> StartedTask | None:
        identity = self._submissions.job_of(task.name)
        if identity is None:
            return None
        job = SlurmJob(self, identity, task)
        record = atomic.read_json(task.record)
        done = isinstance(record, dict) and job.left(record) and record.get("state") == "done"
        row = self._rows_before.get(identity)
        if not done and (row is None or not row.live):
            return None
        self.jobs[identity] = job
        self.rows |= {} if row is None else {identity: row}
        return job

    @cached_property
    def _rows_before(self) -> dict[str, QueueRow]:
        """What squeue says of the tasks of an earlier supervisor. Raises UserError where it does not answer: none may be started twice."""
        deadline = time.monotonic() + UNANSWERED
        while True:
            try:
                return slurm_commands.queue(self._submissions.jobs)
            except Unreachable as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"tasks of this run may be going on in Slurm, which does not answer: {error}", "resume it when squeue answers again"
                    ) from None
            time.sleep(self.tick)

    def submit(self, tasks: Sequence[Task], *, avoid: Sequence[str] = ()) -> list[StartedTask]:
        size = max(1, slurm_commands.setting("MaxArraySize", 1001)) if len(tasks) > 1 else 1
        started: list[StartedTask] = []
        for start in range(0, len(tasks), size):
            started += self._submit(tasks[start : start + size], avoid)
        return started

    def _submit(self, tasks: Sequence[Task], avoid: Sequence[str]) -> list[SlurmJob]:
        slurm_commands.need_slurm()
        for task in tasks:
            task.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, comment = self._submissions.begin([task.name for task in tasks])
        script = self._place / f"{number:03d}.sh"
        probe = self._probe()
        atomic.write_text(script, sbatch_script.text(self._name, comment, self.settings, tasks, self._place, avoid, probe))
        identity = slurm_commands.submit(script, self.settings.model_dump())
        self._submissions.submitted(number, identity)
        jobs = [SlurmJob(self, f"{identity}_{index}", task) for index, task in enumerate(tasks)]
        for job in jobs:
            self.jobs[job.id] = job
            self._tries[job.task.name] += 1
        return jobs

    def _probe(self) -> str:
        """The job that finds out whether the nodes see the run folder; none where that is known."""
        if self._remembered or shared_folder.is_known(self._place, self.settings.partition):
            return ""
        if self._probe_job:
            return self._probe_job
        script = self._place / "probe.sh"
        (self._place / shared_folder.SEEN).unlink(missing_ok=True)
        atomic.write_text(script, shared_folder.script(self._name, self.settings, self._place))
        self._probe_job = slurm_commands.submit(script, self.settings.model_dump())
        return self._probe_job

    @property
    def unseen(self) -> bool:
        """Whether a probe was submitted, and what it was to write is not here."""
        return bool(self._probe_job) and not (self._place / shared_folder.SEEN).exists()

    def may_retry(self, name: str) -> bool:
        return self._tries[name] <= self.settings.max_requeues

    def look(self, *, wait: bool = False) -> None:
        """Ask squeue, if that was not done a moment ago."""
        now = time.monotonic()
        if now - self._asked < self._interval and not wait:
            return
        self._asked = now
        live = {identity for identity, job in self.jobs.items() if not job.ended}
        try:
            rows = slurm_commands.queue(identity.partition("_")[0] for identity in live)
        except Unreachable:
            return
        finally:
            self._interval = max(POLL, 10 * (time.monotonic() - now))  # a controller that is slow to answer is asked less often
        for identity in live:
            self._answers[identity] = 0 if identity in rows else self._answers[identity] + 1
        if self._probe_job and not self._remembered and not self.unseen:
            self._remembered = True
            shared_folder.remember(self._place, self.settings.partition)
        if rows != self.rows:
            self.rows |= rows
            atomic.write_json(self._place / "queue.json", self._table(), durable=False)

    def output_of(self, identity: str) -> Path:
        """Where Slurm puts what the batch script itself says; made by the node when the task starts."""
        return self._place / f"{identity}.out"

    def is_gone(self, identity: str) -> bool:
        """Whether squeue says that a task has ended, or has twice not known it."""
        row = self.rows.get(identity)
        return self._answers[identity] >= 2 or (row is not None and not row.live)

    def _table(self) -> dict[str, Any]:
        tasks = {}
        for identity, job in self.jobs.items():
            row = self.rows.get(identity)
            keys = ("state", "reason", "node", "starts", "left")
            state = {key: getattr(row, key) for key in keys} if row is not None else {}
            tasks[job.task.name] = {"job": identity, "log": _beside(self._folder.path, job.task.log), **state}
        return {"updated": time.time(), "scheduler": "slurm", "partition": self.settings.partition, "tasks": tasks}

    def summary(self) -> Mapping[str, Any]:
        live = [row for identity, job in self.jobs.items() if not job.ended and (row := self.rows.get(identity)) is not None and row.live]
        waiting = [row for row in live if row.waiting]
        reasons = Counter(row.reason for row in waiting if row.reason not in ("", "None"))
        expected = min((row.starts for row in waiting if row.starts not in ("", "N/A")), default="")
        nodes = sorted({row.node for row in live if row.node and not row.waiting})
        jobs = sorted({identity.partition("_")[0] for identity, job in self.jobs.items() if not job.ended}, key=int)
        summary: dict[str, Any] = {"scheduler": "slurm", "partition": self.settings.partition or "", "jobs": jobs}
        summary |= {"waiting": len(waiting), "running": len(live) - len(waiting), "nodes": nodes[:8]}
        return summary | {"reason": reasons.most_common(1)[0][0] if reasons else "", "starts": expected}

    def provenance(self) -> Mapping[str, Any]:
        asked = self.settings.model_dump(exclude_defaults=True, exclude={"setup"})
        return {"scheduler": "slurm", "jobs": self._submissions.jobs, "asked": asked, "setup": self.settings.setup, "tasks": self._places()}

    def _places(self) -> dict[str, Any]:
        """Where each task ran, as it said itself, else as squeue did."""
        places = {}
        for identity, job in self.jobs.items():
            row, record = self.rows.get(identity), atomic.read_json(job.task.record)
            seen = {"node": row.node} if row is not None and row.node else {}
            own_record = record if isinstance(record, dict) and job.left(record) else {}
            places[job.task.name] = {"job": identity, **seen, **{key: own_record[key] for key in ("node", "gpus") if own_record.get(key)}}
        return places


def _beside(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
