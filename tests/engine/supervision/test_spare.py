"""Processes started ahead: used once, only where a fresh one would be the same, with the same numbers, and killed like any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import tomli

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.events import Progress, Stamped
from interp_tui_engine.runfolder import RunFolder, Status
from interp_tui_engine.supervision.executors import spare_process, spare_worker
from interp_tui_engine.supervision.executors.spare_process import Spares
from small_llc import LLC

SCRIPT = """
import json, os, sys
from interp_tui_engine.supervision.executors.spare_process import wait_for_task
given = wait_for_task(os.getppid())
if given is None:
    sys.exit(3)
seen = {"given": given, "cwd": os.getcwd(), "pid": os.getpid(), "session": os.getsid(0), "queue": os.environ.get("INTERP_TUI_QUEUE_DEVICE")}
print(json.dumps(seen | {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "input": sys.stdin.buffer.read().decode()}))
"""


@pytest.fixture
def spares(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spares]:
    monkeypatch.delenv(spare_process.WITHOUT)
    made = Spares(lambda hint: [sys.executable, "-c", SCRIPT, hint])
    yield made
    made.close()


def kept(spares: Spares, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    spares.keep("llc", environment)
    assert spares._spare is not None
    return spares._spare.process


def test_a_spare_becomes_what_it_was_started_for(spares: Spares, tmp_path: Path) -> None:
    environment = supervisor.environment() | {"CUDA_VISIBLE_DEVICES": "0"}
    process = kept(spares, environment)
    assert kept(spares, environment) is process, "one is enough"
    log = tmp_path / "engine.log"
    log.write_text("before\n")
    changed = environment | {"CUDA_VISIBLE_DEVICES": "1", "INTERP_TUI_QUEUE_DEVICE": "1"}
    assert spares.take(["run", "--shard", "0"], changed, tmp_path, log) is process
    assert spares.take(["run"], environment, tmp_path, log) is None, "used once"
    assert process.wait(60) == 0
    before, line = log.read_text().splitlines()
    assert before == "before"
    seen = json.loads(line)
    assert seen["given"] == ["run", "--shard", "0"] and seen["cwd"] == str(tmp_path) and seen["input"] == ""
    assert seen["pid"] == seen["session"] == process.pid
    assert (seen["gpus"], seen["queue"]) == ("1", "1"), "which device it may use is read when it is first used"


def test_a_spare_that_is_not_needed_ends(spares: Spares) -> None:
    process = kept(spares, supervisor.environment())
    spares.close()
    assert process.wait(60) == 3


def test_a_spare_ends_with_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(spare_process.WITHOUT)
    code = f"""
import os, sys
from interp_tui_engine.supervision.executors.spare_process import Spares
spares = Spares(lambda hint: [sys.executable, "-c", {SCRIPT!r}])
spares.keep("llc", dict(os.environ))
print(spares._spare.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    ran = subprocess.run([sys.executable, "-c", code], env=supervisor.environment(), capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL
    pid = int(ran.stdout)
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "nobody holds the other end of its pipe"
        time.sleep(0.05)


@pytest.mark.parametrize("change", ["variable", "less", "sources", "age", "killed"])
def test_a_spare_that_a_fresh_process_would_differ_from_is_not_used(
    change: str, spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = supervisor.environment() | {"OMP_NUM_THREADS": "1", "SOME": "1"}
    process = kept(spares, environment)
    if change == "variable":
        environment["OMP_NUM_THREADS"] = "2"
    elif change == "less":
        del environment["SOME"]
    elif change == "sources":
        monkeypatch.setattr(spare_process, "sources", lambda: (0.0,))
    elif change == "age":
        monkeypatch.setattr(spare_process, "IDLE", 0.0)
    else:
        process.kill()
        process.wait()
    assert spares.take(["run"], environment, tmp_path, tmp_path / "log") is None
    assert process.wait(60) != 0
    assert not (tmp_path / "log").exists() or (tmp_path / "log").read_text() == ""


def test_nothing_is_started_ahead_where_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spare_process.WITHOUT, "1")
    spares = Spares(lambda hint: ["/no/such/program"])
    spares.keep("llc", {})
    assert spares._spare is None
    monkeypatch.delenv(spare_process.WITHOUT)
    spares.keep("llc", {})  # a process that cannot be started is no error
    assert spares._spare is None


def test_the_next_child_is_got_ready_when_one_ends_soon() -> None:
    running = Status(state="running", done=50, total=100)
    long, soon = replace(running, eta_seconds=3600.0), replace(running, eta_seconds=20.0)
    assert not spare_worker.is_due([long]) and spare_worker.is_due([long, soon])
    assert not spare_worker.is_due([Status(state="queued"), Status(state="running"), replace(soon, state="paused")])
    assert spare_worker.is_due([running]) and not spare_worker.is_due([replace(running, done=10)])


PRELOADED = """
import sys
from pathlib import Path
import torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init", "get_device_capability", "mem_get_info"):
    setattr(torch.cuda, name, lambda *a, name=name: asked.append(name))
from interp_tui_engine.runtime.preload import preload
preload("llc")
tasks = Path("/proc/self/task")
threads = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.is_dir() else ["main"]
print(asked, len([name for name in threads if name != "jemalloc_bg_thd"]))  # pyarrow's allocator keeps one, which computes nothing
print("interp_tui_engine.experiments._sampling.run" in sys.modules, "arviz_stats.base" in sys.modules, "torch._dynamo" in sys.modules)
"""


def test_what_a_spare_imports_touches_no_device_and_starts_no_threads() -> None:
    environment = supervisor.environment() | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", PRELOADED], capture_output=True, text=True, env=environment)
    assert ran.stdout.splitlines() == ["[] 1", "True True False"], ran.stderr[-2000:]


def digests(folder: RunFolder) -> dict[str, str]:
    recorded: dict[str, str] = tomli.loads(folder.manifest_path.read_text())["result"]["sha256"]
    return recorded


@pytest.mark.timeout(600)
def test_a_warm_run_killed_and_resumed_gives_the_numbers_of_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = manifest.parse(LLC.replace("num_draws = 1", "num_draws = 300") + '[compute]\nthreads = 1\ncheckpoint_every = "0.1s"\n')
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv(spare_process.WITHOUT)
    spare_worker.spares.keep("llc", supervisor.environment())
    assert spare_worker.spares._spare is not None
    ready = spare_worker.spares._spare.process.pid
    warm = supervisor.prepare(request, tmp_path / "warm")

    def kill_once_it_draws(stamped: Stamped) -> None:
        if isinstance(stamped.event, Progress) and stamped.event.done > 0 and psutil.pid_exists(ready):
            os.kill(ready, signal.SIGKILL)

    killed = supervisor.supervise(warm, kill_once_it_draws)
    assert killed.worker_pid == ready and killed.state == "crashed", "the worker was the spare, and was killed like any other"
    spare_worker.spares.keep("llc", supervisor.environment())
    assert spare_worker.spares._spare is not None and spare_worker.spares._spare.process.pid != ready
    assert supervisor.supervise(warm).state == "done"
    fresh = supervisor.prepare(request, tmp_path / "fresh")
    assert supervisor.supervise(fresh).state == "done" and spare_worker.spares._spare is None
    assert digests(warm) == digests(fresh)


@pytest.mark.timeout(600)
def test_a_run_launched_with_a_spare_supervisor_is_detached_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv(spare_process.WITHOUT)
    supervisor.get_ready("llc")
    assert supervisor.SPARES._spare is not None
    ready = supervisor.SPARES._spare.process
    folder = supervisor.prepare(manifest.parse(LLC + "[compute]\nthreads = 1\n"), tmp_path / "run")
    supervisor.launch(folder, timeout=120)
    owner = folder.status().owner
    assert owner is not None and owner.pid == ready.pid == os.getsid(ready.pid)
    assert ready.wait(240) == 0
    status = folder.status()
    assert status.state == "done" and status.worker_pid not in (None, ready.pid)
    assert psutil.Process().children() == [] or ready.pid not in [child.pid for child in psutil.Process().children()]
