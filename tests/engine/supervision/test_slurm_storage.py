"""Tasks of Slurm on nodes that see the run folder late, or another one in its place, or have no space: said, and nothing lost."""

from __future__ import annotations

import time

import pytest
from scripted_workers import Script, starts
from slurm_runs import REQUEST, Supervised

from cluster.fake_slurm import Cluster
from interp_tui_engine import supervisor, user_folders
from interp_tui_engine.supervision.executors import shared_folder, slurm


def test_files_that_are_seen_late_lose_nothing(scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers write into a folder of their own; what they wrote is seen here a while later, the log even later than exit.json."""
    monkeypatch.setattr(slurm, "SEEN_LATE", 20.0)
    elsewhere = "folder = folder.with_name(folder.name + '-there'); shard = folder / 'shards' / str(me); shard.mkdir(parents=True)\n"
    body = elsewhere + "log = EventLog(shard / 'events.jsonl'); log.append(RunStarted('llc', 'x')); end('done', told={}, headline={'n': 1})"
    folder = scripted(body, REQUEST.replace("tasks = 2", "tasks = 1"))
    there = folder.path.with_name(folder.path.name + "-there") / "shards" / "0"
    run = Supervised(folder)
    cluster.wait("101_0", "COMPLETED")
    time.sleep(1.0)  # squeue has said for a while that it ended
    assert folder.status().state == "running"
    (folder.shard(0) / "exit.json").write_bytes((there / "exit.json").read_bytes())
    time.sleep(1.0)
    assert folder.status().state == "running"
    (folder.shard(0) / "events.jsonl").write_bytes((there / "events.jsonl").read_bytes())
    status = run.end()
    assert status.state == "done" and status.headline == {"n": 1} and starts(folder) == [0] and list(cluster.all()) == ["101_0"]


def test_a_node_that_does_not_see_the_folder_is_named(scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SEEN_LATE", 3.0)  # longer than squeue takes to say how the task ended
    (cluster.root / "elsewhere").mkdir()
    status = supervisor.supervise(scripted("time.sleep(1000)", REQUEST.replace("tasks = 2", "tasks = 1")))
    assert status.state == "crashed" and "n1 does not see the run folder" in status.exit["reason"] and len(cluster.all()) == 1
    assert "--runs DIR" in status.exit["advice"]


def forget_what_was_seen() -> None:
    (user_folders.state_folder() / shared_folder.RECORD).unlink()


def test_a_probe_task_goes_before_the_first_run_and_is_not_repeated(
    scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_what_was_seen()
    asked = REQUEST.replace("tasks = 2", "tasks = 1")
    folder = scripted('end("done", headline={"n": 1})', asked)
    assert supervisor.supervise(folder).state == "done"
    assert (folder.path / "slurm" / shared_folder.SEEN).read_text() == "n1\n"
    assert "--dependency=afterok:101\n" in (folder.path / "slurm" / "000.sh").read_text()
    assert sorted(cluster.all()) == ["101_0", "102_0"]
    assert shared_folder.is_known(folder.path, None) and not shared_folder.is_known(folder.path, "urgent")


def test_nothing_starts_where_the_probe_sees_another_file_system(
    scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_what_was_seen()
    monkeypatch.setattr(slurm, "SEEN_LATE_KILLED", 0.2)
    (cluster.root / "elsewhere").mkdir()
    folder = scripted("time.sleep(1000)")
    status = supervisor.supervise(folder)
    assert status.state in ("crashed", "interrupted") and "a probe task did not see the run folder" in status.exit["reason"]
    assert "--runs DIR" in status.exit["advice"] and starts(folder) == []
    assert {task["state"] for name, task in cluster.all().items() if name != "101_0"} == {"CANCELLED"}


def test_a_full_quota_is_said_from_the_exit_code(scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SEEN_LATE", 0.1)
    status = supervisor.supervise(scripted("sys.exit(28)", REQUEST.replace("tasks = 2", "tasks = 1")))
    assert status.state == "failed" and status.exit["reason"] == "the disk is full" and len(cluster.all()) == 1
