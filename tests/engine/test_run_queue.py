"""Runs that wait for a device of this machine: in order, one a device, past logout and reboot, beside GPUs that others use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from scripted_workers import PRELUDE, SHARED

from interp_tui_engine import accelerators, manifest, run_queue, supervisor
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.status import Owner

REQUEST = SHARED.replace('devices = ["cpu", "cpu"]', "")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTERP_TUI_STATE", str(tmp_path / "state"))
    for name in (run_queue.DEVICE, run_queue.MASK, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state" / "queue"


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    made = [supervisor.prepare(manifest.parse(REQUEST), tmp_path / "runs" / name) for name in ("first", "second", "third")]
    run_queue.add(made)
    return made


class Launched:
    """Stands in for supervisors: notes what is started, and holds its device as one does."""

    def __init__(self) -> None:
        self.devices: dict[str, str] = {}

    def __call__(self, folder: RunFolder, variables: Mapping[str, str]) -> None:
        self.devices[folder.path.name] = variables[run_queue.DEVICE]
        me, path = Owner.me(), run_queue._lease_of(variables[run_queue.DEVICE])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"token": "x", "host": me.host, "boot_id": me.boot_id, "pid": me.pid, "created": me.created}))


def names() -> list[str]:
    return [folder.path.name for folder in run_queue.waiting()]


def test_order_can_be_changed_and_runs_taken_out(runs: list[RunFolder]) -> None:
    run_queue.move("third", 1)
    assert names() == ["third", "first", "second"]
    assert run_queue.remove("first").path == runs[0].path and names() == ["third", "second"]
    run_queue.add([runs[2]])
    assert names() == ["second", "third"], "a run waits once"
    for word, what in (("nobody", "does not wait"), ("d", "could be any of second, third")):
        with pytest.raises(UserError, match=what):
            run_queue.remove(word)


def test_a_waiting_run_stays_queued_however_long_that_takes(runs: list[RunFolder]) -> None:
    record = json.loads((runs[0].path / "status.json").read_text())
    for folder in runs[:2]:
        (folder.path / "status.json").write_text(json.dumps(record | {"updated": time.time() - 1e6}))
    run_queue.remove("second")
    assert runs[0].status().state == "queued" and runs[1].status().state == "crashed"


def test_each_gpu_has_one_run_and_the_next_begins_when_one_is_free(runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", lambda: ("cuda:0", "cuda:1"))
    monkeypatch.setattr(run_queue, "busy_gpus", set)
    launched = Launched()
    run_queue.pause(True)
    assert run_queue.advance(launched) == []
    run_queue.pause(False)
    assert [folder.path.name for folder in run_queue.advance(launched)] == ["first", "second"]
    assert launched.devices == {"first": "0", "second": "1"} and names() == ["third"]
    assert run_queue.advance(launched) == []
    run_queue._lease_of("1").unlink()
    run_queue.advance(launched)
    assert launched.devices["third"] == "1" and names() == []


def test_gpus_that_others_use_and_those_that_are_hidden_are_left_alone(
    runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_queue.gpu_use, "in_use", lambda: None)  # without nvidia-ml-py
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$1" in *apps*) echo GPU-b;; *) printf "0, GPU-a\\n1, GPU-b\\n2, GPU-c\\n";; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    monkeypatch.setattr(accelerators, "visible", lambda: ("cuda:0", "cuda:1"))
    assert run_queue.free_devices() == ["2"]
    assert run_queue.variables("2") == {run_queue.DEVICE: "2", run_queue.MASK: "1,2", "CUDA_VISIBLE_DEVICES": "2"}


def test_a_run_whose_model_several_gpus_hold_is_not_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    split = manifest.parse(REQUEST, overrides=["compute.gpus_per_worker=2", "compute.chains=serial"])
    run_queue.need_one_device(split)  # on CPUs they need no device each
    monkeypatch.setattr(accelerators, "visible", lambda: ("cuda:0", "cuda:1"))
    run_queue.need_one_device(manifest.parse(REQUEST))
    with pytest.raises(UserError, match="gives a run one GPU, and the model of this one is held by 2"):
        run_queue.need_one_device(split)


def test_a_run_that_cannot_be_started_does_not_hold_up_the_others(runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", tuple)
    launched = Launched()

    def launch(folder: RunFolder, variables: Mapping[str, str]) -> None:
        if folder.path.name == "first":
            raise UserError("the disk is full")
        launched(folder, variables)

    assert [folder.path.name for folder in run_queue.advance(launch)] == ["second"]
    assert "the queue could not start it: the disk is full" in (runs[0].path / "supervisor.log").read_text()


def test_a_run_that_ends_starts_the_next_without_anybody(runs: list[RunFolder], tmp_path: Path) -> None:
    worker, runner = tmp_path / "worker.py", tmp_path / "runner.py"
    said = "headline={'device': os.environ['INTERP_TUI_QUEUE_DEVICE']}"
    worker.write_text(f"{PRELUDE}log.append(RunStarted('llc', 'x')); end('done', {said})")
    runner.write_text(f"""
import subprocess, sys
from interp_tui_engine import accelerators, supervisor
accelerators.visible.cache_clear(); accelerators.shutil.which = lambda name: None
supervisor.worker_command = lambda folder, shard: [sys.executable, {str(worker)!r}, str(folder.path), str(shard)]
def launch(folder, variables):
    process = subprocess.Popen([sys.executable, __file__, str(folder.path)], env=supervisor.environment() | dict(variables))
    while folder.status().owner is None or folder.status().owner.pid != process.pid: pass
supervisor.launch = launch
sys.exit(supervisor.main())
""")
    started = run_queue.advance(
        lambda folder, variables: (
            subprocess.Popen([sys.executable, str(runner), str(folder.path)], env=supervisor.environment() | dict(variables))
            and _until(lambda: folder.status().owner is not None)
        )
    )
    assert [folder.path.name for folder in started] == ["first"]
    _until(lambda: [folder.status().state for folder in runs] == ["done"] * 3)
    assert names() == [] and runs[2].status().headline == {"device": "cpu"}
    starts = [folder.status().started for folder in runs]
    assert starts == sorted(starts) and runs[0].status().updated <= starts[1]


def _until(true: object, seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
