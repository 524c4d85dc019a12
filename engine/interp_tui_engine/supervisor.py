"""One per run, without torch: holds the lock, runs the workers, keeps status and events, and records how it ended.

    python -P -m interp_tui_engine.supervisor RUN_FOLDER

It survives a worker's crash or kill and always writes the last event and status. If it is killed itself, its workers notice, checkpoint
and end; the next supervisor takes over the folder and goes on from there. Of a run that several workers share, the death of one costs its
share only: the others end theirs, and the next supervisor starts that one again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from . import atomic, gpu_use, lease, manifest, provenance, resource_use, run_queue, untrusted
from .atomic import disk_is_full
from .errors import UserError
from .events import Warned
from .kind import Estimate
from .runfolder import RunFolder, State, Status, take_commands
from .status import task_here
from .supervision.executors import spare_worker
from .supervision.executors.choose import executor_of
from .supervision.executors.executor import TaskExecutor
from .supervision.executors.local import LocalExecutor
from .supervision.executors.spare_process import Spares, wait_for_task
from .supervision.exit_record import RESUME, disk_full, storage_fault
from .supervision.process_signals import interrupted, signals
from .supervision.run_recorder import Listener, RunRecorder
from .supervision.shard_worker import Ended, ShardWorker
from .supervision.worker_pool import WorkerPool

COMMAND = (sys.executable, "-P", "-m", "interp_tui_engine.supervisor")
SPARES = Spares(lambda kind: [*COMMAND, "--spare", kind])
"""The supervisor that this process has ready, with a worker of its own, for the next run that it launches."""
TAKEOVER_PATIENCE = 180.0
"""Seconds for which a supervisor that is itself a task of a scheduler waits for its folder to become free."""


def prepare(request: manifest.Manifest, path: Path) -> RunFolder:
    """Make the folder of a run that is still to start: its resolved manifest and a status of 'queued'. Raises UserError."""
    model = short_source(request.model.source) if request.model else ""
    status = Status(state="queued", kind=request.run_kind, name=request.name, model=model, updated=time.time())
    text = request.to_toml(provenance=provenance.of_start(request))
    return RunFolder.create(path, {"manifest.toml": text, "status.json": atomic.json_text(status.to_json())})


def short_source(source: str) -> str:
    """A model or data source short enough for a table: the file name of a path, a hub or builtin name as it is."""
    return Path(source).stem if Path(source).is_absolute() else source


def launch(folder: RunFolder, variables: Mapping[str, str] | None = None, *, timeout: float = 20.0) -> None:
    """Start a supervisor of its own session for the folder and return once it has confirmed. Raises UserError if it does not.

    variables: what it is told beside the environment of this process.
    """
    try:
        process = _start(folder, environment() | dict(variables or {}))
    except OSError as error:
        what = "the disk is full" if disk_is_full(error) else f"{folder.path} cannot be written: {error.strerror}"
        raise UserError(f"the run cannot be started: {what}", "free some space or mend its permissions, then resume it") from None
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = folder.status()
        if status.owner is not None and status.owner.pid == process.pid:
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    tail = untrusted.last_lines(folder.path / "supervisor.log", 3)
    if shutil.disk_usage(folder.path).free < 1 << 16:
        tail = [atomic.after_full_disk(folder.path)]
    raise UserError(f"the run did not start: {folder.path}", "\n  ".join(tail) or "its supervisor gave no reason")


def _start(folder: RunFolder, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A supervisor for the folder, of its own session: the spare one, else a new one. Raises OSError where its log cannot be written."""
    log_path = folder.path / "supervisor.log"
    if (ready := SPARES.take([str(folder.path)], variables, folder.path, log_path)) is not None:
        return ready
    with untrusted.open_to_append(log_path) as log:
        return subprocess.Popen(
            [*COMMAND, str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder.path,
            env=dict(variables),
        )


def get_ready(kind: str) -> None:
    """Have a supervisor and its worker started for a run that may be asked for soon: its first numbers then come within a second."""
    SPARES.keep(kind, environment())


def environment() -> dict[str, str]:
    """The environment for child processes: this very package importable under `python -P`, wherever it was imported from."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def worker_command(folder: RunFolder, shard: int) -> list[str]:
    """The command that runs one shard: the same from a local supervisor and from a cluster's scheduler."""
    return [sys.executable, "-P", "-m", "interp_tui_engine.worker", str(folder.path), "--shard", str(shard)]


def supervise(folder: RunFolder, listen: Listener = lambda stamped: None, interrupts: list[int] | None = None) -> Status:
    """Run, or go on with, the folder's run until it ends; returns its last status. Raises UserError if another supervisor holds it.

    `listen` is called with every event as it is logged. SIGINT and SIGTERM ask the worker to stop with a checkpoint: they are noted down
    in `interrupts`, which a caller that listens for them already hands in.
    """
    interrupts = [] if interrupts is None else interrupts
    with signals(interrupts), contextlib.ExitStack() as stack:
        try:
            _take(folder, stack, interrupts)
        except lease.HeldElsewhere as held:
            what = f"another supervisor is running {folder.path}{f' on {held.holder}' if held.holder else ''}"
            raise UserError(what, "interp-tui attach shows it; interp-tui stop ends it") from None
        except OSError as error:
            if disk_is_full(error):
                return replace(folder.status(), state="failed", exit=disk_full(folder.path))
            raise UserError(f"cannot lock {folder.path}: {error.strerror}", "is the folder writable?") from None
        return _supervise(folder, listen, interrupts)


def _take(folder: RunFolder, stack: contextlib.ExitStack, interrupts: Sequence[int]) -> None:
    """Hold the folder's lock for as long as the stack is open. Raises HeldElsewhere, or OSError where the folder cannot be written."""
    # a scheduler starts a task again where its node was lost: what that one held must run out first
    deadline = time.monotonic() + (TAKEOVER_PATIENCE if task_here() else 0.0)
    while True:
        try:
            stack.enter_context(lease.held(folder.lock_path, 0.0))
            return
        except lease.HeldElsewhere:
            if interrupts or time.monotonic() >= deadline:
                raise
        time.sleep(lease.LOOK)


def _supervise(folder: RunFolder, listen: Listener, interrupts: list[int]) -> Status:
    recorder = None
    try:
        recorder = RunRecorder(folder, listen, _estimate)
        if recorder.request.sweep or recorder.request.step:
            return _with_children(recorder, interrupts)
        return _Supervisor(recorder, interrupts).run()
    except OSError as error:
        fault = storage_fault(error, folder.path)
        if fault is None:
            raise
        # nothing can be written down: the folder, if it is there, will read as crashed, and can be resumed once it can be written
        return replace(recorder.status if recorder else folder.status(), state="failed", exit=fault)


def _estimate(request: manifest.Manifest) -> Estimate:
    """What a run, sweep or pipeline takes by its operations."""
    from .supervision import sweep_supervisor

    return sweep_supervisor.estimate(request)


def _with_children(recorder: RunRecorder, interrupts: list[int]) -> Status:
    """Run a sweep or a pipeline to its end."""
    from .supervision.choose_children import children_of
    from .supervision.pipeline_supervisor import PipelineSupervisor
    from .supervision.sweep_supervisor import SweepSupervisor

    try:
        children = children_of(recorder, interrupts, prepare, supervise, environment)
    except UserError as error:
        recorder.finish("failed", {"code": 2, "reason": error.what, "advice": error.hint, "bad_input": True}, {}, {}, 0.0)
        return recorder.status
    return SweepSupervisor(recorder, children).run() if recorder.request.sweep else PipelineSupervisor(recorder, children).run()


def exit_code(status: Status) -> int:
    """0 done, 2 what was given could not be used, 130 interrupted with a checkpoint, else 1."""
    if status.exit.get("bad_input"):
        return 2
    return {"done": 0, "interrupted": 130}.get(status.state, 1)


@final
class _Supervisor:
    """One supervised run: its workers, the log and status it keeps of them, the orders it passes on."""

    def __init__(self, recorder: RunRecorder, interrupts: list[int]) -> None:
        self.recorder = recorder
        self.folder = recorder.folder
        self.asked: list[str] = []
        self.interrupts = interrupts
        """Signals that have come; a handler may interrupt any line, so it only notes them down."""

    def run(self) -> Status:
        take_commands(self.folder.control)
        self.recorder.write_status(force=True)
        self.worker_pool = WorkerPool(self.folder, self.recorder.request)
        self.executor: TaskExecutor = LocalExecutor()
        try:
            self.executor = executor_of(self.folder, self.recorder.request)
            with gpu_use.watched() as self._gpus:
                end = self._work()
        except UserError as error:  # a scheduler that refuses the tasks
            end = Ended("failed", {"code": 2, "reason": error.what, "advice": error.hint, "bad_input": True}, {})
        except BaseException:
            for worker in self.worker_pool.everyone:  # whatever went wrong, such as a full disk: nobody would watch over them any more
                worker.terminate()
            raise
        seconds = float(end.written.get("seconds") or 0.0) if not self.worker_pool.of else 0.0
        headline = end.written.get("headline") or self.recorder.status.headline
        self.recorder.status = replace(self.recorder.status, shards=self.worker_pool.rows(), cluster=self.executor.summary())
        peaks = {row["device"]: row["peak"] for row in self.recorder.status.gpus}
        self.recorder.provenance |= {"cluster": dict(placed)} if (placed := self.executor.provenance()) else {}
        seconds = seconds or time.time() - self.recorder.started
        records = (atomic.read_json(worker.path / "exit.json") for worker in self.worker_pool.workers)
        exits = [record for record in records if isinstance(record, dict)]
        memory = resource_use.memory_of(exits)
        for shard, record in enumerate(exits):  # of a cluster's tasks, whose nodes only they can look at
            peaks |= {f"shard {shard} {device}": peak for device, peak in resource_use.gpu_peaks(record).items()}
        self.recorder.provenance |= {"gpu_memory_peak": peaks} if peaks else {}
        self.recorder.finish(end.state, end.exit, headline, end.written.get("digests", {}), seconds, memory, peaks.values())
        return self.recorder.status

    def _work(self) -> Ended:
        """The shares, then what joins them; or the one worker that does it all."""
        worker_pool = self.worker_pool
        for event in worker_pool.before:
            self.recorder.note(event)
        for worker in worker_pool.workers:
            if worker not in worker_pool.todo:
                self._copy(worker, ended=True)  # what an earlier supervisor was killed before it copied
        self._attend(worker_pool.todo)
        if worker_pool.joiner is None:
            return worker_pool.end_of(worker_pool.workers[0])
        if (missing := worker_pool.missing()) is not None:
            return missing
        while self.recorder.status.state == "paused":
            self._take_orders([])
            time.sleep(self.executor.tick)
        if "stop" in self.asked or "kill" in self.asked:
            return Ended(
                "interrupted", {"code": 130, "signal": None, "reason": "stopped before the shares were joined", "advice": RESUME}, {}
            )
        self._attend([worker_pool.joiner])
        return worker_pool.end_of(worker_pool.joiner)

    def _attend(self, workers: Sequence[ShardWorker]) -> None:
        """Start the workers and stay with them until the last has ended."""
        self._start(workers)
        self.recorder.expect()  # while they import
        while True:
            running = [worker for worker in workers if worker.running]
            pids = (worker.job.pid for worker in running if worker.job is not None)
            pid = next((pid for pid in pids if pid is not None), self.recorder.status.worker_pid)
            self.recorder.status = replace(
                self.recorder.status, worker_pid=pid, shards=self.worker_pool.rows(), cluster=self.executor.summary()
            )
            self.recorder.status = replace(self.recorder.status, gpus=self._gpus.rows(self.recorder.status.device))
            try:
                for worker in workers:
                    self._copy(worker, ended=worker not in running)
                self.recorder.write_status()
                self._take_orders(running)
                for worker in running:
                    worker.end_if_deaf()
            except OSError as error:
                if storage_fault(error, self.folder.path) is None:
                    raise
                for worker in running:
                    worker.terminate()  # it takes this for a stop; a command file cannot be written
            running += self._start_again([worker for worker in workers if worker not in running])
            if not running:
                return
            if any(worker not in running and self.worker_pool.end_of(worker).exit.get("bad_input") for worker in workers):
                for worker in running:  # what one cannot use no resume will mend: the others need not go on for hours
                    worker.order_once("stop")
            time.sleep(self.executor.tick)

    def _start(self, workers: Sequence[ShardWorker]) -> None:
        """Start the workers, but for those that an earlier supervisor started and that go on without one."""
        for worker in workers:
            worker.job = self.executor.adopt(worker.task(worker_command(self.folder, worker.shard), environment()))
        self._submit([worker for worker in workers if worker.job is None])

    def _submit(self, workers: Sequence[ShardWorker], *, avoid: Sequence[str] = ()) -> None:
        for worker in workers:
            worker.prepare()
        tasks = [worker.task(worker_command(self.folder, worker.shard), environment()) for worker in workers]
        for worker, job in zip(workers, self.executor.submit(tasks, avoid=avoid) if tasks else (), strict=True):
            worker.job = job

    def _start_again(self, ended: Sequence[ShardWorker]) -> list[ShardWorker]:
        """Those of the workers that were lost and are started once more, on another node if theirs is to blame."""
        if {"stop", "kill"} & set(self.asked):
            return []
        again = []
        for worker in ended:
            end = self.worker_pool.end_of(worker)
            if end.state == "done" or not worker.lost(end) or not self.executor.may_retry(worker.task((), {}).name):
                continue
            seen = worker.job.row.get("node") if worker.job is not None else ""
            node = str(end.written.get("node") or seen or "") if end.state != "interrupted" else ""
            where = f", not to {node}" if node else ""
            self.recorder.note(Warned(f"shard {worker.shard}: {end.exit.get('reason')}; submitted again{where}"))
            self.worker_pool.again(worker)
            self._submit([worker], avoid=[node] if node else [])
            again.append(worker)
        return again

    def _take_orders(self, workers: Sequence[ShardWorker]) -> None:
        """Pass on to the workers what clients and signals have asked for."""
        states: dict[str, State] = {"pause": "paused", "resume": "running", "stop": "stopping"}
        for command in [*interrupted(self.interrupts, self.asked), *self.folder.take_commands()]:
            self.asked.append(command)
            for worker in workers:
                worker.order(command)
            if command in states:
                self.recorder.state(states[command])

    def _copy(self, worker: ShardWorker, *, ended: bool) -> None:
        """Copy a worker's new events into the run's log, each once, also over restarts."""
        for stamped, event in self.worker_pool.news(worker, self.recorder.log.copied.get(worker.shard, 0), ended=ended):
            self.recorder.note(event, t=stamped.t, shard=worker.shard, shard_seq=stamped.seq)


def main() -> int:
    """Supervise the folder named on the command line; as a spare, the one that it is given later, if any."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--spare"] and len(arguments) == 2:
        parent = os.getppid()
        spare_worker.spares.keep(arguments[1], environment())
        given = wait_for_task(parent)
        if given is None:
            return 0
        arguments = given
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m interp_tui_engine.supervisor RUN_FOLDER\n")
        return 2
    interrupts: list[int] = []
    with signals(interrupts):  # before the first file is opened: from here on the run says how it ended
        return _supervise_and_report(Path(arguments[0]), interrupts)


def _supervise_and_report(path: Path, interrupts: list[int]) -> int:
    """Supervise the run, have the queue go on after it, and say what went wrong; the exit code."""
    try:
        folder = RunFolder.open(path)
        with run_queue.device_held(folder) as queued:
            status = supervise(folder, interrupts=interrupts)
        if queued:
            run_queue.leave_device()
            run_queue.advance(launch)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if status.state == "failed":
        sys.stderr.write(f"{status.exit.get('reason')}\n  {status.exit.get('advice')}\n")
    return exit_code(status)


if __name__ == "__main__":
    sys.exit(main())
