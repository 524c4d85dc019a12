"""One per run, without torch: holds the lock, runs the worker, keeps status and events, and records how it ended.

    python -P -m interp_tui_engine.supervisor RUN_FOLDER

It survives a worker's crash or kill and always writes the last event and status. If it is killed itself, its worker notices, checkpoints
and ends; the next supervisor takes over the folder and goes on from there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock

from . import atomic, manifest, provenance
from .atomic import disk_is_full
from .ending import disk_full, ending_of
from .errors import UserError
from .events import (
    RunFinished,
)
from .keeper import Keeper, Listener
from .runfolder import Command, EventTail, RunFolder, State, Status, take_commands

TICK = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def prepare(request: manifest.Manifest, path: Path) -> RunFolder:
    """Make the folder of a run that is still to start: its resolved manifest and a status of 'queued'."""
    folder = RunFolder.create(path)
    atomic.write_text(folder.manifest_path, request.to_toml(provenance=provenance.of_start(request)))
    model = request.model.source if request.model else ""
    folder.write_status(Status(state="queued", kind=request.run_kind, name=request.name, model=short_source(model), updated=time.time()))
    return folder


def short_source(source: str) -> str:
    """A model or data source short enough for a table: the file name of a path, a hub or builtin name as it is."""
    return Path(source).stem if Path(source).is_absolute() else source


def launch(folder: RunFolder, *, timeout: float = 20.0) -> None:
    """Start a supervisor of its own session for the folder and return once it has confirmed. Raises UserError if it does not."""
    log = (folder.path / "supervisor.log").open("ab")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "interp_tui_engine.supervisor", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder.path,
            env=environment(),
        )
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status = folder.status()
        if status.owner is not None and status.owner.pid == process.pid:
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    tail = (folder.path / "supervisor.log").read_text(errors="replace").strip().splitlines()[-3:]
    raise UserError(f"the run did not start: {folder.path}", "\n  ".join(tail) or "its supervisor gave no reason")


def environment() -> dict[str, str]:
    """The environment for child processes: this very package importable under `python -P`, wherever it was imported from."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}


def worker_command(folder: RunFolder, shard: int) -> list[str]:
    """The command that runs one shard: the same from a local supervisor and from a cluster's scheduler."""
    return [sys.executable, "-P", "-m", "interp_tui_engine.worker", str(folder.path), "--shard", str(shard)]


def supervise(folder: RunFolder, listen: Listener = lambda stamped: None) -> Status:
    """Run, or go on with, the folder's run until it ends; returns its last status. Raises UserError if another supervisor holds it.

    `listen` is called with every event as it is logged. SIGINT and SIGTERM ask the worker to stop with a checkpoint.
    """
    lock = filelock.FileLock(folder.lock_path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"another supervisor is running {folder.path}", "interp-tui attach shows it; interp-tui stop ends it") from None
    except OSError as error:
        raise UserError(f"cannot lock {folder.path}: {error.strerror}", "is the folder writable?") from None
    try:
        keeper = Keeper(folder, listen)
        if keeper.request.sweep:
            from .sweeping import Sweeper

            return Sweeper(keeper).run()
        return _Supervisor(keeper).run()
    finally:
        lock.release()


def exit_code(status: Status) -> int:
    """0 done, 2 what was given could not be used, 130 interrupted with a checkpoint, else 1."""
    if status.exit.get("bad_input"):
        return 2
    return {"done": 0, "interrupted": 130}.get(status.state, 1)


class _Supervisor:
    """One supervised run of one worker: the shard it tails, the orders it passes on."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.folder = folder = keeper.folder
        self.shard = folder.shard(0)
        self.asked: list[str] = []
        self.interrupts: list[int] = []
        """Signals that have come; a handler may interrupt any line, so it only notes them down."""

    def run(self) -> Status:
        take_commands(self.folder.control)
        self.shard.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.shard / "exit.json").unlink(missing_ok=True)
        take_commands(self.shard / "control")
        self.keeper.write_status(force=True)
        tail = EventTail(self.shard / "events.jsonl")
        with signals(self.interrupts):
            worker = self.spawn()
            self.keeper.status = replace(self.keeper.status, worker_pid=worker.pid)
            while True:
                ended = worker.poll() is not None
                try:
                    self.copy(tail, until_done=ended)
                    self.keeper.write_status()
                except OSError as error:
                    if not disk_is_full(error):
                        raise
                    worker.terminate()  # it takes this for a stop; a command file would need space
                if ended:
                    break
                for command in [*interrupted(self.interrupts, self.asked), *self.folder.take_commands()]:
                    if command == "kill":
                        self.asked.append(command)
                        worker.kill()
                    else:
                        self.order(command)
                time.sleep(TICK)
        try:
            return self.finish(worker.pid, worker.returncode)
        except OSError as error:
            if not disk_is_full(error):
                raise
            # nothing can be written down: the folder will read as crashed, and can be resumed once there is space
            return replace(self.keeper.status, state="failed", exit=disk_full(self.folder.path))

    def spawn(self) -> subprocess.Popen[bytes]:
        with (self.shard / "engine.log").open("ab") as log:
            return subprocess.Popen(
                worker_command(self.folder, 0),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
            )

    def order(self, command: str) -> None:
        """Pass a command on to the worker."""
        self.asked.append(command)
        control = self.shard / "control"
        control.mkdir(exist_ok=True)
        atomic.write_text(control / command, "", durable=False)
        states: dict[str, State] = {"pause": "paused", "resume": "running", "stop": "stopping"}
        if command in states:
            self.keeper.state(states[command])

    def copy(self, tail: EventTail, *, until_done: bool = False) -> None:
        """Copy the worker's new events into the run's log, each once, also over restarts."""
        while True:
            before = tail.offset
            for stamped in tail.read(seconds=0.2):
                # a shard's end is not the run's: finish() writes that one
                if stamped.seq > self.keeper.log.copied.get(0, 0) and not isinstance(stamped.event, RunFinished):
                    self.keeper.note(stamped.event, t=stamped.t, shard=0, shard_seq=stamped.seq)
            if not until_done or tail.offset == before:  # what is left, if anything, is a line torn by a kill
                return

    def finish(self, pid: int, code: int) -> Status:
        """Find out how the worker ended, and say so."""
        said = atomic.read_json(self.shard / "exit.json") or {}
        if said.get("pid") != pid:  # left by an earlier worker, whose supervisor was killed
            said = {}
        state, exit_info = ending_of(code, said, self.asked, self.shard / "engine.log")
        seconds = float(said.get("seconds") or time.time() - self.keeper.started)
        self.keeper.finish(state, exit_info, said.get("headline") or self.keeper.status.headline, said.get("digests", {}), seconds)
        return self.keeper.status


def interrupted(seen: list[int], asked: list[str]) -> list[Command]:
    """What signals have asked for since the last look: the first one to stop with a checkpoint, a second one to stop at once."""
    count, seen[:] = len(seen), []
    orders: list[Command] = []
    for _ in range(count):
        orders.append("kill" if "stop" in [*asked, *orders] else "stop")
    return orders


@contextmanager
def signals(seen: list[int]) -> Any:
    """While inside, SIGINT and SIGTERM are added to `seen`, and a hang-up is ignored: a lost terminal never ends a run."""
    try:
        before = {number: signal.signal(number, lambda signum, _: seen.append(signum)) for number in STOP_SIGNALS}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    """Supervise the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m interp_tui_engine.supervisor RUN_FOLDER\n")
        return 2
    try:
        status = supervise(RunFolder.open(Path(sys.argv[1])))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return exit_code(status)


if __name__ == "__main__":
    sys.exit(main())
