"""A run started by a client outlives it: hang-up, a killed terminal, a killed process group."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.runfolder import RunFolder

REQUEST = """
kind = "certify"
name = "detached"
[params]
cases = [{ family = "quadratic", curvatures = [1.0], n_beta = 10.0, lr = 0.01 }]
"""

CLIENT = """
import sys, time
from pathlib import Path
from interp_tui_engine import supervisor
from interp_tui_engine.runfolder import RunFolder
supervisor.launch(RunFolder(Path(sys.argv[1])))
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_run_outlives_its_terminal(tmp_path: Path, number: signal.Signals) -> None:
    folder = supervisor.prepare(manifest.parse(REQUEST), tmp_path / "run")
    control, terminal = pty.openpty()
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(folder.path)],
        env=supervisor.environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        assert b"started" in os.read(control, 1024)
        assert folder.status().owner is not None
    finally:
        os.killpg(client.pid, number)
        client.wait(10)
        os.close(control)
    assert _ended(folder) == "done"


def _ended(folder: RunFolder) -> str:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        state = folder.status().state
        if state not in ("queued", "running"):
            return state
        time.sleep(0.1)
    return "still running"


KILLED_AT_ONCE = """
import os, signal, sys
from pathlib import Path
from interp_tui_engine import supervisor
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision.executors.executor import Task
from interp_tui_engine.supervision.executors.local import LocalExecutor
folder = RunFolder(Path(sys.argv[1]))
shard = folder.shard(0)
shard.mkdir(parents=True)
task = Task("shard 0", supervisor.worker_command(folder, 0), supervisor.environment(), shard / "exit.json", shard / "engine.log")
print(LocalExecutor().submit([task])[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_whose_supervisor_was_killed_as_it_started_does_no_work(tmp_path: Path) -> None:
    folder = supervisor.prepare(manifest.parse(REQUEST), tmp_path / "run")
    command = [sys.executable, "-c", KILLED_AT_ONCE, str(folder.path)]
    killed = subprocess.run(command, env=supervisor.environment(), capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    deadline = time.monotonic() + 200
    while psutil.pid_exists(int(killed.stdout)) and psutil.Process(int(killed.stdout)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not folder.result_path.exists() and not (folder.shard(0) / "exit.json").exists(), "nobody watches over it"
