"""Runs as tasks of Slurm, against stand-ins for its commands and scripted workers: submitted, lost, put back, cancelled, taken over."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import tomli
from scripted_workers import SAMPLE_OR_JOIN, Script, starts, supervised_apart
from slurm_runs import ONCE, REQUEST, Supervised, until, warned

from cluster.fake_slurm import Cluster
from interp_tui_engine import supervisor
from interp_tui_engine.supervision.executors import slurm, slurm_commands


def test_shards_are_tasks_of_one_array_and_the_last_joins_them(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(SAMPLE_OR_JOIN)
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"chains": [0, 1, 2, 3]} and starts(folder) == [0, 1, 2]
    assert sorted(cluster.all()) == ["101_0", "101_1", "102_0"], "one array, then the worker that joins"
    assert [(row["job"], row["state"]) for row in status.shards] == [("101_0", "done"), ("101_1", "done")]
    recorded = tomli.loads(folder.manifest_path.read_text())
    places = recorded["provenance"]["cluster"]
    assert places["jobs"] == ["101", "102"] and places["tasks"]["shard 1"] == {"job": "101_1", "node": "n2"}
    assert recorded["result"]["sha256"] == {"loss": "ab"} and recorded["compute"]["executor"] == "slurm"
    script = (folder.path / "slurm" / "000.sh").read_text()
    assert "#SBATCH --array=0-1\n" in script and "#SBATCH --requeue" in script and "signal=B:USR1@120" in script
    assert script.count(") exec ") == 2, "a plain child of a batch script outlives scancel"
    assert json.loads((folder.path / "slurm" / "queue.json").read_text())["tasks"]["shard 0"]["log"] == "shards/0/engine.log"


def test_a_preempted_task_goes_on_where_it_was_and_is_not_submitted_again(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(ONCE + "(wait_for_term() if me == 0 and first else None, " + SAMPLE_OR_JOIN + ")")
    run = Supervised(folder)
    cluster.wait("101_0", "RUNNING")
    until((folder.shard(0) / "tried").exists)
    cluster.preempt("101_0")
    assert run.end().state == "done"
    assert cluster.task("101_0")["restarts"] == 1 and sorted(cluster.all()) == ["101_0", "101_1", "102_0"]


def test_a_task_whose_node_failed_is_tried_on_another(scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SEEN_LATE_KILLED", 0.1)
    folder = scripted(ONCE + "(time.sleep(1000) if me == 1 and first else None, " + SAMPLE_OR_JOIN + ")")
    run = Supervised(folder)
    cluster.wait("101_1", "RUNNING")
    until((folder.shard(1) / "tried").exists)
    cluster.lose("101_1", "NODE_FAIL")
    status = run.end()
    assert status.state == "done" and status.headline == {"chains": [0, 1, 2, 3]}
    assert "#SBATCH --exclude=n2" in (folder.path / "slurm" / "001.sh").read_text() and cluster.task("102_0")["node"] == "n1"
    assert warned(folder) == ["shard 1: its node failed; submitted again, not to n2"]


def test_a_task_that_never_gets_its_time_is_given_up(scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "SEEN_LATE_KILLED", 0.1)
    folder = scripted("os.kill(os.getppid(), 0) or time.sleep(1000)", REQUEST + "max_requeues = 1\n")
    run = Supervised(folder)
    for task in ("101_0", "101_1", "102_0", "103_0"):
        cluster.wait(task, "RUNNING")
        cluster.lose(task, "TIMEOUT")
    status = run.end()
    assert status.state == "crashed" and "it reached its time limit" in status.exit["reason"] and len(cluster.all()) == 4


def test_what_no_node_can_use_is_not_tried_again(scripted: Script, cluster: Cluster) -> None:
    folder = scripted("end('failed', 1, reason='no such column', bad_input=True)")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and supervisor.exit_code(status) == 2 and len(cluster.all()) == 2


def test_an_error_that_a_node_may_be_to_blame_for_is_tried_elsewhere(scripted: Script, cluster: Cluster) -> None:
    body = "end('failed', 1, reason='CUDA error', elsewhere=True) if me == 0 and first else " + SAMPLE_OR_JOIN
    folder = scripted(ONCE + body)
    assert supervisor.supervise(folder).state == "done"
    assert warned(folder) == ["shard 0: CUDA error; submitted again, not to n1"]


def test_stop_reaches_tasks_that_run_and_takes_those_that_wait_out_of_the_queue(scripted: Script, cluster: Cluster) -> None:
    folder = scripted("wait_for_stop()")
    cluster.full(True)
    run = Supervised(folder)
    cluster.wait("101_0", "PENDING")
    until(lambda: folder.status().cluster.get("waiting") == 2)
    assert folder.status().cluster["reason"] == "Resources"
    folder.send("stop")
    status = run.end()
    assert status.state == "interrupted" and supervisor.exit_code(status) == 130
    assert status.exit["reason"] == "stopped before it had a place to run"
    cluster.full(False)
    cluster.wait("101_1", "CANCELLED")
    again = Supervised(folder)
    until(lambda: starts(folder) is not None and folder.status().cluster.get("running") == 2)
    folder.send("stop")
    assert again.end().exit["reason"] == "stopped with a checkpoint"


def test_scancel_ends_a_run_like_a_stop(scripted: Script, cluster: Cluster) -> None:
    folder = scripted("wait_for_term()")
    run = Supervised(folder)
    for task in ("101_0", "101_1"):
        cluster.wait(task, "RUNNING")
        until((folder.path / "shards" / task[-1] / "events.jsonl").exists)
    slurm_commands.cancel(["101"])
    status = run.end()
    assert status.state == "interrupted" and status.exit["reason"] == "it was cancelled in Slurm" and len(cluster.all()) == 2


def test_tasks_outlive_their_supervisor_and_the_next_takes_them_over(scripted: Script, cluster: Cluster, tmp_path: Path) -> None:
    body = "while not (folder / 'go').exists(): time.sleep(0.02)\n" + SAMPLE_OR_JOIN
    folder = scripted(body)
    process = supervised_apart(tmp_path / "worker.py", folder)
    for task in ("101_0", "101_1"):
        cluster.wait(task, "RUNNING")
    until(lambda: json.loads((folder.path / "slurm" / "submissions.json").read_text())["submissions"][0]["job"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = Supervised(folder)
    until(lambda: folder.status().cluster.get("running") == 2)
    (folder.path / "go").touch()
    status = run.end()
    assert status.state == "done" and sorted(cluster.all()) == ["101_0", "101_1", "102_0"], "nothing was submitted twice"


def test_a_task_that_ended_unsupervised_is_not_done_again(scripted: Script, cluster: Cluster, tmp_path: Path) -> None:
    text = REQUEST.replace("tasks = 2", "tasks = 1")
    folder = scripted("time.sleep(0.5); log.append(RunStarted('llc', 'x')); end('done', headline={'n': 1})", text)
    process = supervised_apart(tmp_path / "worker.py", folder)
    cluster.wait("101_0", "RUNNING")
    until(lambda: json.loads((folder.path / "slurm" / "submissions.json").read_text())["submissions"][0]["job"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    cluster.wait("101_0", "COMPLETED")
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"n": 1} and list(cluster.all()) == ["101_0"]


def test_a_submission_whose_id_was_never_noted_is_found_again(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(SAMPLE_OR_JOIN)
    run = Supervised(folder)
    assert run.end().state == "done"
    path = folder.path / "slurm" / "submissions.json"
    record = json.loads(path.read_text())
    record["submissions"] = record["submissions"][:1]
    record["submissions"][0]["job"] = None
    path.write_text(json.dumps(record))
    from interp_tui_engine.supervision.executors.submissions import Submissions

    assert Submissions(folder.path / "slurm").job_of("shard 1") == "101_1"


def test_a_controller_that_does_not_answer_loses_no_task(scripted: Script, cluster: Cluster) -> None:
    folder = scripted("while not (folder / 'go').exists(): time.sleep(0.02)\n" + SAMPLE_OR_JOIN)
    run = Supervised(folder)
    cluster.wait("101_1", "RUNNING")
    until(lambda: folder.status().cluster.get("running") == 2)
    cluster.silent(True)
    time.sleep(1.0)
    assert folder.status().state == "running"
    (folder.path / "go").touch()
    until(lambda: (folder.shard(0) / "exit.json").exists() and (folder.shard(1) / "exit.json").exists())
    cluster.silent(False)
    assert run.end().state == "done" and len(cluster.all()) == 3


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ('partition = "gpu"', "there is no partition 'gpu' here"),
        ('mem = "9000"', "no node of the partition has what a task asks for"),
    ],
)
def test_what_slurm_refuses_is_said_in_a_sentence(scripted: Script, cluster: Cluster, settings: str, what: str) -> None:
    status = supervisor.supervise(scripted(SAMPLE_OR_JOIN, REQUEST + settings + "\n"))
    assert status.state == "failed" and supervisor.exit_code(status) == 2
    assert status.exit["reason"].startswith(f"Slurm refused the tasks: {what}")


def test_without_slurm_on_the_path_nothing_is_submitted(scripted: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status = supervisor.supervise(scripted(SAMPLE_OR_JOIN))
    assert status.state == "failed" and "sbatch, squeue, scancel is not on the path" in status.exit["reason"]
