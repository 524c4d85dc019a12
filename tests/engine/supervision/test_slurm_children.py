"""Points of sweeps and steps of pipelines as tasks of Slurm: ordinary runs on their nodes, tried again, stopped, resumed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli
from scripted_workers import Script, starts
from slurm_runs import ONCE, REQUEST, Supervised, until, warned

from cluster.fake_slurm import Cluster
from interp_tui_engine import supervisor
from interp_tui_engine.events import Warned
from interp_tui_engine.runfolder import EventLog, EventTail, RunFolder
from interp_tui_engine.supervision import child_tasks
from interp_tui_engine.supervision.executors import slurm
from interp_tui_engine.supervision.executors.executor import Task

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
