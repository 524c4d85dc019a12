"""What the Queue screen is told of this machine's queue and of Slurm, and what it can have done to them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.fake_slurm import Cluster, install
from interp_tui.runs import queue_actions, queue_look, queue_rows
from interp_tui.runs.queue_look import QueueItem, QueueLook
from interp_tui.runs.session import read_run
from interp_tui_engine import run_queue
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision.executors import slurm_commands

PATH = os.environ["PATH"]
COMMENT = "interp-tui:0123456789abcdef"
SCRIPT = f"""#!/bin/bash
#SBATCH --comment={COMMENT}
#SBATCH --array=0-1
#SBATCH --output=%A_%a.out
trap 'exit 130' TERM
while :; do sleep 0.02; done
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_TUI_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))  # this machine may have Slurm's commands, or a cluster
    monkeypatch.setattr(run_queue, "free_devices", list)
    monkeypatch.delenv(run_queue.DEVICE, raising=False)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    cluster = install(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm' / 'bin'}{os.pathsep}{PATH}")
    yield cluster
    cluster.end()


@pytest.fixture
def submitted(cluster: Cluster, make_run: Any) -> RunFolder:
    """A run with two tasks in Slurm."""
    folder: RunFolder = make_run("there", state="running")
    (folder.path / "slurm").mkdir()
    (folder.path / "slurm" / "000.sh").write_text(SCRIPT.replace("%A_%a", str(folder.path / "slurm" / "%A_%a")))
    entry = {"comment": COMMENT, "tasks": ["shard 0", "points/007"], "job": "101", "at": 1.0}
    (folder.path / "slurm" / "submissions.json").write_text(json.dumps({"v": 1, "submissions": [entry]}))
    assert slurm_commands.submit(folder.path / "slurm" / "000.sh", {}) == "101"
    return folder


def look(queue: QueueLook, *listed: RunFolder) -> dict[str, QueueItem]:
    queue._next_squeue = 0.0
    return {item.job or item.name: item for item in queue.read([read_run(folder) for folder in listed]).items}


def until(queue: QueueLook, job: str, state: str) -> QueueItem:
    for _ in range(500):
        item = look(queue).get(job)
        if (item.state if item is not None else "") == state:
            return item  # type: ignore[return-value]
        time.sleep(0.02)
    raise AssertionError(f"{job} is {item}")


def test_a_task_of_slurm_is_named_placed_and_followed_to_its_log(cluster: Cluster, submitted: RunFolder) -> None:
    cluster.wait("101_0", "RUNNING")
    cluster.wait("101_1", "RUNNING")
    items = look(QueueLook())
    assert {job: (item.task, item.state, item.where) for job, item in items.items()} == {
        "101_0": ("shard 0", "running", "n1"),
        "101_1": ("points/007", "running", "n2"),
    }
    assert items["101_1"].folder == submitted and items["101_1"].left == "no limit"
    (submitted.path / "points" / "007").mkdir(parents=True)
    assert queue_look.tail(items["101_1"].logs, 3) == []
    (submitted.path / "slurm" / "101_1.out").write_text("module not found\n")
    assert queue_look.tail(items["101_1"].logs, 3) == ["module not found"], "what the batch script says, while the task says nothing"
    (submitted.path / "points" / "007" / "supervisor.log").write_text("a\nb\n\nc\nd\n")
    assert queue_look.tail(items["101_1"].logs, 3) == ["b", "c", "d"]


def test_tasks_are_held_released_put_back_and_cancelled(cluster: Cluster, submitted: RunFolder) -> None:
    queue = QueueLook()
    running = until(queue, "101_0", "running")
    cluster.full(True)
    assert queue_actions.may("requeue", running) and not queue_actions.may("hold", running)
    queue_actions.requeue(running)
    waiting = until(queue, "101_0", "queued")
    assert waiting.why == "Resources" and waiting.elapsed == "" and queue_actions.may("hold", waiting)
    queue_actions.hold(waiting)
    held = until(queue, "101_0", "held")
    assert held.why == "held"
    assert queue_actions.hold(held) == "Released"
    queue_actions.cancel(until(queue, "101_0", "queued"))
    cluster.wait("101_0", "CANCELLED")
    assert "101_0" not in look(queue)
    with pytest.raises(UserError, match="did not requeue 101_0"):
        queue_actions.requeue(running)


def test_squeue_is_asked_once_in_five_seconds_and_its_silence_changes_nothing(cluster: Cluster, submitted: RunFolder) -> None:
    queue = QueueLook()
    first = [queue.read([]).items for _ in range(20)][-1]
    assert len((cluster.root / "asked").read_text().splitlines()) == 1
    cluster.silent(True)
    queue._next_squeue = 0.0
    now = queue.read([])
    assert now.items == first and len(first) == 2 and "Unable to contact slurm controller" in now.silent
    cluster.silent(False)
    queue._next_squeue = 0.0
    assert queue.read([]).silent == ""


def test_other_jobs_of_the_user_are_none_of_ours() -> None:
    line = f"7_0|RUNNING|None|n1|main|2026-09-21T14:00:00|29:30|0:30|/a|b/slurm/000.sh|{COMMENT}"
    others = "8|RUNNING|None|n1|main|2026-09-21T14:00:00|29:30|0:30|/home/me/train.sh|\n9|PENDING|half a line"
    (task,) = slurm_commands.user_tasks(f"{line}\n{others}\n")
    assert task.script == Path("/a|b/slurm/000.sh") and task.left == "29:30" and not task.held


def test_runs_of_this_machine_wait_in_order_beside_those_that_run(make_run: Any) -> None:
    names = ["a", "b", "c"]
    folders = [make_run(name, state="queued", folder_name=f"20260921-00000{place}-llc-{name}") for place, name in enumerate(names)]
    run_queue.add(folders)
    going = make_run("going", state="running", device="cuda:1", eta=90.0, age=120.0)
    queue = QueueLook()
    items = look(queue, *folders, going, make_run("old", state="done"))
    assert [(item.state, item.position) for item in items.values()] == [("running", 0), ("queued", 1), ("queued", 2), ("queued", 3)]
    runs = items[going.path.name]
    assert (runs.where, runs.left, runs.elapsed) == ("cuda:1", "~1 m 30 s", "2 m")
    last = items[folders[2].path.name]
    assert queue_actions.may("up", last) and not queue_actions.may("up", items[folders[0].path.name])
    queue_actions.move(last, -1)
    assert [folder.path.name[-1] for folder in run_queue.waiting()] == ["a", "c", "b"]
    queue_actions.remove(look(queue)[folders[0].path.name])
    assert [folder.path.name[-1] for folder in run_queue.waiting()] == ["c", "b"]
    queue_actions.pause(True)
    held = list(look(queue).values())
    assert {item.state for item in held} == {"held"} and {item.why for item in held} == {"the pause"}
    assert "starts no more here" in queue_rows.title(queue.read([]))


def test_what_the_queue_has_started_shows_wherever_its_folder_is(make_run: Any) -> None:
    folder = make_run("apart", state="running", device="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(run_queue.DEVICE, "1")
        with run_queue.device_held(folder) as held:
            assert held and run_queue.running() == {"1": folder}
            (item,) = QueueLook().read([]).items
            assert (item.where, item.task, item.state) == ("cuda:1", "from the queue", "running")
    assert run_queue.running() == {}


def test_a_waiting_run_is_started_by_a_look(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run("next", state="queued")
    run_queue.add([folder])
    started: list[RunFolder] = []
    monkeypatch.setattr(run_queue, "free_devices", lambda: [] if started else ["cpu"])
    monkeypatch.setattr("interp_tui_engine.supervisor.launch", lambda folder, variables: started.append(folder))
    QueueLook().read([])
    assert started == [folder]


def test_a_pipe_in_the_place_of_a_log_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "engine.log")
    (tmp_path / "supervisor.log").write_text("a\nb\n")
    assert queue_look.tail([tmp_path / "engine.log", tmp_path / "supervisor.log"], 3) == ["a", "b"]
