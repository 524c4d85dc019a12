"""Who holds a run, across hosts: by leases that are touched, by the clock of the file system, and what a scheduler knows."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from interp_tui_engine import lease, supervisor
from interp_tui_engine.errors import UserError
from interp_tui_engine.lease import HeldElsewhere, Lease, held
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.status import SILENT_AFTER, Owner, Status

ELSEWHERE = f"not-{socket.gethostname()}"


@pytest.fixture(autouse=True)
def outside_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(lease, "_AHEAD", {})


def left_by(path: Path, *, silent: float = 0.0, **values: object) -> None:
    """A lease of another process, last touched `silent` seconds ago."""
    me = Owner.me()
    record = {"token": "theirs", "host": me.host, "boot_id": me.boot_id, "pid": me.pid, "created": me.created, "job": ""}
    path.write_text(json.dumps(record | {"at": str(path)} | values))
    os.utime(path, (time.time() - silent,) * 2)


def test_one_holds_it_and_gives_it_back(tmp_path: Path) -> None:
    with held(tmp_path / "run.lock", 0.0), pytest.raises(HeldElsewhere):
        Lease(tmp_path / "run.lease").acquire(0.0)
    assert not (tmp_path / "run.lease").exists()
    with held(tmp_path / "run.lock", 0.0):
        assert lease.is_kept(tmp_path / "run.lease")


@pytest.mark.parametrize("gone", [{"pid": 2**30}, {"boot_id": "before"}, {"created": 1.0}])
def test_a_process_of_this_host_that_is_gone_holds_nothing(tmp_path: Path, gone: dict[str, object]) -> None:
    left_by(tmp_path / "run.lease", **gone)
    with held(tmp_path / "run.lock", 0.0):
        assert json.loads((tmp_path / "run.lease").read_text())["token"] != "theirs"
    assert list(tmp_path.glob(".*lease*")) == [], "nothing is left beside it"


@pytest.mark.parametrize("content", ["", "[1", None])
def test_one_that_a_power_cut_left_without_a_holder_is_taken_once_it_is_old(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "run.lease"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(HeldElsewhere), held(tmp_path / "run.lock", 0.0):
        pass
    os.utime(path, (time.time() - SILENT_AFTER - 10,) * 2)
    with held(tmp_path / "run.lock", 0.0):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_another_host_holds_it_as_long_as_it_touches_it(tmp_path: Path) -> None:
    left_by(tmp_path / "run.lease", host=ELSEWHERE, silent=SILENT_AFTER - 10)
    with pytest.raises(HeldElsewhere, match=ELSEWHERE), held(tmp_path / "run.lock", 0.0):
        pass
    left_by(tmp_path / "run.lease", host=ELSEWHERE, silent=SILENT_AFTER + 10)
    with held(tmp_path / "run.lock", 0.0):
        pass


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_this_hosts_clock_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    for silent, gone in ((5.0, False), (SILENT_AFTER + 10, True)):
        left_by(tmp_path / "run.lease", host=ELSEWHERE, silent=silent)
        with monkeypatch.context() as patch:
            patch.setattr(lease.time, "time", lambda: clock() + ahead)
            assert lease.is_kept(tmp_path / "run.lease") is not gone


clock = time.time


def test_a_task_that_its_scheduler_started_again_does_not_wait_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(tmp_path / "worker.lease", host=ELSEWHERE, job="12_3")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with held(tmp_path / "worker.lock", 0.0):
        pass
    left_by(tmp_path / "worker.lease", host=ELSEWHERE, job="12_4")
    with pytest.raises(HeldElsewhere), held(tmp_path / "worker.lock", 0.0):
        pass


def test_a_lease_is_touched_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.02)
    with held(tmp_path / "run.lock", 0.0):
        os.utime(tmp_path / "run.lease", (1.0, 1.0))
        deadline = time.monotonic() + 30
        while (tmp_path / "run.lease").stat().st_mtime == 1.0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_copy_of_a_folder_is_held_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with held(tmp_path / "run.lock", 0.0):
        (tmp_path / "copy" / "run.lease").write_bytes((tmp_path / "run.lease").read_bytes())
        with held(tmp_path / "copy" / "run.lock", 0.0):
            pass


def test_a_file_system_without_locks_or_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    def no_links(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lease.filelock.FileLock, "acquire", refuse)
    monkeypatch.setattr(lease.os, "link", no_links)
    with held(tmp_path / "run.lock", 0.0), pytest.raises(HeldElsewhere), held(tmp_path / "run.lock", 0.0):
        pass


# -- runs


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"manifest.toml": 'kind = "certify"\n'})


def test_a_run_that_another_host_supervises_is_not_started_here(folder: RunFolder) -> None:
    left_by(folder.path / "run.lease", host=ELSEWHERE)
    with pytest.raises(UserError, match=f"another supervisor is running .* on {ELSEWHERE}"):
        supervisor.supervise(folder)


@pytest.mark.parametrize("ahead", [0.0, 600.0, -600.0])
def test_a_healthy_run_on_a_host_whose_clock_is_wrong_stays_healthy(folder: RunFolder, ahead: float) -> None:
    there = replace(Owner.me(), host=ELSEWHERE)
    running = Status(state="running", owner=there, updated=time.time() + ahead, clock_ahead=ahead)
    folder.write_status(running)
    assert folder.status().state == "running"
    folder.write_status(replace(running, updated=running.updated - SILENT_AFTER - 10))
    assert folder.status().state == "crashed"


def test_a_run_whose_supervisor_is_gone_while_its_tasks_go_on_is_running_unsupervised(folder: RunFolder) -> None:
    gone = replace(Owner.me(), pid=2**30)
    folder.write_status(Status(state="running", owner=gone, updated=time.time(), cluster={"scheduler": "slurm", "jobs": ["12"]}))
    status = folder.status()
    assert status.state == "crashed" and "resume takes them over" in status.exit["reason"] and status.resumable
    folder.shard(1).mkdir(parents=True)
    left_by(folder.shard(1) / "worker.lease", host=ELSEWHERE)
    status = folder.status()
    assert status.state == "running" and status.unsupervised and status.resumable
    left_by(folder.shard(1) / "worker.lease", host=ELSEWHERE, silent=SILENT_AFTER + 10)
    assert folder.status().state == "crashed"
