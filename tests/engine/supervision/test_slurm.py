"""Runs as tasks of Slurm, against stand-ins for its commands and scripted workers: submitted, lost, put back, cancelled, taken over."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli
from scripted_workers import SAMPLE_OR_JOIN, SHARED, Script, starts, supervised_apart, told

from cluster.fake_slurm import Cluster
from interp_tui_engine import supervisor, user_folders
from interp_tui_engine.events import Warned
from interp_tui_engine.runfolder import EventLog, EventTail, RunFolder, Status
from interp_tui_engine.supervision import child_tasks
from interp_tui_engine.supervision.executors import shared_folder, slurm, slurm_commands
from interp_tui_engine.supervision.executors.executor import Task

REQUEST = SHARED.replace('devices = ["cpu", "cpu"]', 'executor = "slurm"\n[compute.slurm]\ntasks = 2\n')
SWEEP = (
    REQUEST.replace("tasks = 2", "array_parallelism = 3")
    + """
[sweep]
"params.lr" = [1e-5, 1e-4]
"model.revision" = ["step-0", "final"]
"""
)
PIPELINE = """
kind = "pipeline"
name = "chained"
[model]
[compute]
executor = "slurm"
[[step]]
id = "a"
kind = "llc"
params = { lr = 1e-4, n_beta = 30.0 }
data = { train = { source = "builtin:prose" } }
[[step]]
id = "b"
kind = "llc"
params = { lr = 1e-3, n_beta = 30.0 }
data = { train = { source = "${a}/made.jsonl" } }
"""
CHILD = """
def done():
    log.append(RunStarted("llc", asked["name"]))
    if asked["model"].get("revision") == "step-0" or "a" == folder.name:
        log.append(Warned("a warning"))
    (folder / "made.jsonl").write_text('{"text": "some text"}')
    atomic.write_json(folder / "result.json", {"kind": "llc", "llc_mean": asked["params"]["lr"]})
    end("done", headline={"llc_mean": asked["params"]["lr"]}, digests={"loss": str(asked["params"]["lr"])})
"""
ONCE = """
first = not (shard / "tried").exists()
(shard / "tried").touch()
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children run the ordinary supervisor, over the test's worker script."""
    runner = tmp_path / "child.py"
    runner.write_text(f"""
import sys
from interp_tui_engine import supervisor
supervisor.worker_command = lambda folder, shard: [sys.executable, {str(tmp_path / "worker.py")!r}, str(folder.path), str(shard)]
sys.exit(supervisor.main())
""")
    monkeypatch.setattr(child_tasks, "child_command", lambda folder: [sys.executable, str(runner), str(folder.path)])


class Supervised:
    """A run that is supervised on a thread of its own."""

    def __init__(self, folder: RunFolder) -> None:
        self._ended: list[Status] = []
        self._thread = threading.Thread(target=lambda: self._ended.append(supervisor.supervise(folder)), daemon=True)
        self._thread.start()

    def end(self) -> Status:
        self._thread.join(200)
        assert self._ended, "it has not ended"
        return self._ended[0]


def until(true: Callable[[], object], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def warned(folder: RunFolder) -> list[str]:
    return [stamped.event.message for stamped in told(folder) if isinstance(stamped.event, Warned)]


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


# -- sweeps and pipelines


@pytest.mark.usefixtures("child")
def test_points_are_tasks_of_one_array_and_ordinary_runs_on_their_nodes(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(CHILD + "done()", SWEEP)
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"points": 4, "done": 4}
    assert sorted(cluster.all()) == [f"101_{k}" for k in range(4)]
    assert "#SBATCH --array=0-3%3\n" in (folder.path / "slurm" / "000.sh").read_text()
    point = RunFolder(folder.path / "points" / "001")
    recorded = tomli.loads(point.manifest_path.read_text())
    assert recorded["compute"]["executor"] == "local" and recorded["result"]["sha256"] == {"loss": "1e-05"}
    assert point.status().state == "done" and point.status().job == "101_1"
    assert tomli.loads(folder.manifest_path.read_text())["provenance"]["cluster"]["tasks"]["points/003"]["job"] == "101_3"


@pytest.mark.usefixtures("child")
def test_a_point_that_fell_with_its_node_is_tried_on_another_and_a_bad_one_is_not(
    scripted: Script, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "SEEN_LATE_KILLED", 0.1)
    bad = "end('failed', 1, reason='no such column', bad_input=True) if folder.name == '003' else done()"
    folder = scripted(ONCE + CHILD + "if folder.name == '002' and first: time.sleep(1000)\n" + bad, SWEEP)
    run = Supervised(folder)
    cluster.wait("101_2", "RUNNING")
    until((folder.path / "points" / "002" / "shards" / "0" / "tried").exists)
    point = RunFolder(folder.path / "points" / "002")
    until(lambda: point.status().worker_pid is not None)
    worker = point.status().worker_pid
    assert worker is not None
    cluster.lose("101_2", "NODE_FAIL")
    os.kill(worker, signal.SIGKILL)
    status = run.end()
    assert status.state == "done" and status.headline == {"points": 4, "done": 3}
    assert sorted(cluster.all()) == ["101_0", "101_1", "101_2", "101_3", "102_0"] and cluster.task("102_0")["node"] == "n2"


@pytest.mark.usefixtures("child")
def test_a_preempted_point_stops_with_a_checkpoint_and_is_resumed_in_its_place(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(ONCE + CHILD + "wait_for_stop() if folder.name == '001' and first else done()", SWEEP)
    run = Supervised(folder)
    until((folder.path / "points" / "001" / "shards" / "0" / "tried").exists)
    cluster.preempt("101_1")
    assert run.end().headline == {"points": 4, "done": 4}
    assert cluster.task("101_1")["restarts"] == 1 and len(cluster.all()) == 4
    assert starts(RunFolder(folder.path / "points" / "001")) == [0]


@pytest.mark.usefixtures("child")
def test_a_stopped_sweep_goes_on_with_the_points_that_are_missing(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(CHILD + "done() if folder.name == '000' else wait_for_stop()", SWEEP)
    run = Supervised(folder)
    until(lambda: (folder.status().headline.get("ended"), folder.status().cluster.get("running")) == (1, 3))
    folder.send("stop")
    assert run.end().state == "interrupted"
    again = scripted(CHILD + "done()", SWEEP)
    assert supervisor.supervise(again).headline == {"points": 4, "done": 4}
    assert len(cluster.all()) == 7, "three of four were submitted again"


@pytest.mark.usefixtures("child")
def test_steps_are_tasks_when_what_they_read_is_done(scripted: Script, cluster: Cluster) -> None:
    folder = scripted(CHILD + "done()", PIPELINE)
    status = supervisor.supervise(folder)
    assert status.state == "done" and sorted(cluster.all()) == ["101_0", "102_0"]
    assert warned(folder) == ["a: a warning"]
    assert tomli.loads((folder.path / "steps" / "b" / "manifest.toml").read_text())["compute"]["executor"] == "local"


def test_what_a_step_says_last_is_heard_though_it_ended_between_two_looks(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "step", {})
    log, heard = EventLog(folder.events_path), []
    log.append(Warned("first"))

    class Job:
        loss, started, id = None, True, "1_0"

        @property
        def running(self) -> bool:  # asked after the log was read: it says one thing more, and ends
            if log.seq < 2:
                log.append(Warned("last"))
            return False

    task = Task("step", (), {}, folder.path / "status.json", folder.path / "log")
    child = child_tasks._Child(folder, lambda stamped: heard.append(stamped.event.message), task, Job(), tail=EventTail(folder.events_path))  # type: ignore[arg-type]
    children: Any = object.__new__(child_tasks.ChildTasks)
    children._children, children._done, children.asked = {0: child}, [], ["stop"]
    children._look(0)
    assert heard == ["first", "last"] and [key for key, _ in children._done] == [0]


# -- a file system that shows files late


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
