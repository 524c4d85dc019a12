"""A run killed at random moments and resumed ends with the same numbers, and its log is whole.

Three kills here, each of another victim; `INTERP_TUI_KILLS=20 pytest tests/engine/supervision/test_kill.py` for more.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tomli

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.events import RunFinished
from interp_tui_engine.runfolder import EventTail, RunFolder

KILLS = int(os.environ.get("INTERP_TUI_KILLS", "3"))

REQUEST = """
kind = "llc"
name = "killed"
seed = 7
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:facts"
context = 24
rows = 24
[params]
lr = 1e-5
n_beta = 20.0
localization = 100.0
num_chains = 3
num_draws = 40
num_burnin_steps = 3
batch_size = 4
num_init_loss_batches = 4
sampling_method = "rmsprop_sgld"
save_metrics = true
observables = { train = 1 }
[compute]
checkpoint_every = "0.3s"
"""


def digests(folder: RunFolder) -> dict[str, str]:
    found: dict[str, str] = tomli.loads(folder.manifest_path.read_text())["result"]["sha256"]
    return found


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "interp_tui_engine.supervisor", str(folder.path)]
    return subprocess.Popen(command, env=supervisor.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def times_of_worker(folder: RunFolder) -> list[float]:
    """When the worker said what, each in seconds since 1970."""
    return [stamped.t for stamped in EventTail(folder.events_path).read(seconds=10) if stamped.shard is not None]


def kill(pid: int | None) -> None:
    if pid is not None and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(1200)
def test_killed_and_resumed_is_as_if_never_killed(tmp_path: Path) -> None:
    request = manifest.parse(REQUEST)
    whole = supervisor.prepare(request, tmp_path / "whole")
    assert supervisor.supervise(whole).state == "done"
    times = times_of_worker(whole)
    length = times[-1] - times[0]  # without its imports

    draw = random.Random(20261121)
    folder = supervisor.prepare(request, tmp_path / "killed")
    kills = 0
    while kills < KILLS:
        began, process = time.time(), start(folder)
        while process.poll() is None and times_of_worker(folder)[-1:] < [began]:
            time.sleep(0.05)
        try:
            process.wait(timeout=draw.uniform(0.05, 0.9) * length)
        except subprocess.TimeoutExpired:
            victim = ("both", "worker", "supervisor")[kills % 3]
            worker = folder.status().worker_pid
            if victim != "worker":
                kill(process.pid)
            if victim != "supervisor":
                kill(worker)
            process.wait()
            kills += 1
            assert folder.status().state in ("crashed", "queued", "done"), victim
            continue
        if folder.status().state == "done":  # ended between two kills: begin another one
            assert digests(folder) == digests(whole)
            folder = supervisor.prepare(request, tmp_path / f"killed-{kills}")
    assert supervisor.supervise(folder).state == "done"
    assert digests(folder) == digests(whole)

    events = list(EventTail(folder.events_path).read(seconds=10))
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    copied = [e.shard_seq for e in events if e.shard is not None]
    assert copied == sorted(set(copied)), "each of the worker's events stands in the log once, in order"
    assert isinstance(events[-1].event, RunFinished) and events[-1].event.state == "done"
