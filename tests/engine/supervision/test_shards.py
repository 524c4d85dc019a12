"""A run that several workers share, against scripted workers: who does what, what one's death costs, whom orders reach, what is told."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import tomli
from scripted_workers import SAMPLE_OR_JOIN, SHARED, Script, starts, told

from interp_tui_engine import manifest, shards, supervisor
from interp_tui_engine.events import Metrics, Progress, Warned
from interp_tui_engine.experiments._sampling.running_estimate import RunningEstimate
from interp_tui_engine.runfolder import Status
from interp_tui_engine.supervision.worker_pool import WorkerPool, assignments_of

REQUEST = SHARED


def test_each_worker_has_its_share_and_the_last_joins_them(scripted: Script) -> None:
    folder = scripted(SAMPLE_OR_JOIN)
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"chains": [0, 1, 2, 3]} and status.device == "2×cpu"
    assert (status.done, status.total, status.unit) == (40, 40, "steps")
    assert [(row["what"], row["device"], row["state"], row["done"]) for row in status.shards] == [
        ("chains 0-1", "cpu", "done", 20),
        ("chains 2-3", "cpu", "done", 20),
    ]
    assert folder.status().shards == status.shards
    assert tomli.loads(folder.manifest_path.read_text())["result"]["sha256"] == {"loss": "ab"}
    assert starts(folder) == [0, 1, 2]
    logged = told(folder)
    assert [stamped.seq for stamped in logged] == list(range(1, len(logged) + 1))


def test_a_death_costs_one_share_and_resume_does_that_one_only(scripted: Script) -> None:
    folder = scripted("os.kill(os.getpid(), signal.SIGKILL) if me == 1 else (time.sleep(0.5), " + SAMPLE_OR_JOIN + ")")
    status = supervisor.supervise(folder)
    assert status.state == "crashed" and supervisor.exit_code(status) == 1
    assert status.exit["reason"].startswith("1 of 2 workers died: shard 1 (chains 2-3 on cpu): the worker was ended by SIGKILL")
    assert "resume does what is missing" in status.exit["advice"]
    assert [row["state"] for row in status.shards] == ["done", "crashed"], "the other worker ended its share"
    assert not folder.shard(2).joinpath("events.jsonl").exists(), "nothing to join yet"
    again = supervisor.supervise(scripted(SAMPLE_OR_JOIN))
    assert again.state == "done" and again.headline == {"chains": [0, 1, 2, 3]} and (again.done, again.total) == (40, 40)
    assert starts(folder) == [0, 1, 2], "the worker whose share was done was not started again"


def test_orders_reach_every_worker(scripted: Script) -> None:
    folder = scripted("wait_for_stop()")
    ended: list[Status] = []
    thread = threading.Thread(target=lambda: ended.append(supervisor.supervise(folder)))
    thread.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all((folder.shard(k) / "events.jsonl").exists() for k in range(2)):
        time.sleep(0.02)
    folder.send("pause")
    while folder.status().state != "paused" and time.monotonic() < deadline:
        time.sleep(0.02)
    folder.send("stop")
    thread.join(60)
    assert ended[0].state == "interrupted" and supervisor.exit_code(ended[0]) == 130
    assert [row["state"] for row in ended[0].shards] == ["interrupted"] * 2
    assert ended[0].exit["reason"] == "stopped with a checkpoint"


def test_kill_reaches_every_worker(scripted: Script) -> None:
    folder = scripted("time.sleep(60)")

    def kill() -> None:
        while not all(row["pid"] for row in folder.status().shards) or not folder.status().shards:
            time.sleep(0.02)
        folder.send("kill")

    threading.Thread(target=kill, daemon=True).start()
    status = supervisor.supervise(folder)
    assert status.state == "interrupted" and status.exit["reason"] == "killed on request"


def test_what_one_worker_cannot_use_stops_the_others(scripted: Script) -> None:
    folder = scripted("""
        if me == 1:
            end("failed", 1, reason="there is no device 'cuda:7' on this machine", advice="available: auto, cpu", bad_input=True)
        wait_for_stop()
    """)
    status = supervisor.supervise(folder)
    assert status.state == "failed" and supervisor.exit_code(status) == 2
    assert status.exit["reason"] == "there is no device 'cuda:7' on this machine" and status.exit["advice"] == "available: auto, cpu"
    assert [row["state"] for row in status.shards] == ["interrupted", "failed"]


def test_a_failure_that_is_one_workers_own_lets_the_others_end(scripted: Script) -> None:
    folder = scripted("end('failed', 1, reason='out of memory', advice='lower batch_size') if me == 0 else sample()")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and "1 of 2 workers failed: shard 0 (chains 0-1 on cpu): out of memory" in status.exit["reason"]
    assert status.exit["advice"] == "lower batch_size" and [row["state"] for row in status.shards] == ["failed", "done"]


def test_one_reason_for_several_failures_is_said_once(scripted: Script) -> None:
    status = supervisor.supervise(scripted("end('failed', 1, reason='the disk is full')"))
    assert status.exit["reason"] == "2 of 2 workers failed: shard 0 (chains 0-1 on cpu), shard 1 (chains 2-3 on cpu): the disk is full"


def test_shares_stay_as_they_were_dealt_and_devices_may_change(scripted: Script) -> None:
    folder = scripted("os.kill(os.getpid(), signal.SIGKILL)", SHARED.replace('"cpu", "cpu"', '"cuda:0", "cuda:1"'))
    supervisor.supervise(folder)
    folder.manifest_path.write_text(folder.manifest_path.read_text().replace('"cuda:1",', ""))
    assert tomli.loads(folder.manifest_path.read_text())["compute"]["devices"] == ["cuda:0"]
    status = supervisor.supervise(scripted(SAMPLE_OR_JOIN))
    assert status.state == "done" and [row["device"] for row in status.shards] == ["cuda:0", "cuda:0"]


def test_devices_without_work_stay_idle_and_it_is_said(scripted: Script) -> None:
    folder = scripted(SAMPLE_OR_JOIN, SHARED.replace('"cpu", "cpu"', '"cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4"'))
    status = supervisor.supervise(folder)
    assert [row["device"] for row in status.shards] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    warned = [stamped.event.message for stamped in told(folder) if isinstance(stamped.event, Warned)]
    assert warned == ["there is work for 4 of the 5 devices: cuda:4 stays idle"]


@pytest.mark.parametrize(
    ("devices", "chains", "dealt"),
    [
        (["cpu", "cpu"], 5, [2, 3]),
        (["cpu"] * 3, 2, [1, 1]),
        (["cuda:0", "cuda:1"], 8, [4, 4]),
        (["cuda:0", "cuda:1"], 10, [4, 6]),
        (["cuda:0", "cuda:1", "cuda:2"], 8, [2, 3, 3]),
        (["cpu", "cpu"], 1, []),
        (["cuda:3"], 4, []),
    ],
)
def test_chains_are_dealt_out_whole_and_once(devices: list[str], chains: int, dealt: list[int]) -> None:
    """Stacks of four stay together on a GPU where there are enough of them; what one worker can do is not dealt out."""
    text = SHARED.replace('["cpu", "cpu"]', json.dumps(devices)).replace("num_chains = 4", f"num_chains = {chains}")
    assignments = [work["chains"] for _, work in assignments_of(manifest.parse(text))]
    assert [len(assignment) for assignment in assignments] == dealt
    assert [chain for assignment in assignments for chain in assignment] == (list(range(chains)) if dealt else [])


def test_a_deal_that_was_cut_short_is_dealt_again(scripted: Script) -> None:
    folder = scripted(SAMPLE_OR_JOIN)
    (folder.shard(1)).mkdir()
    (folder.shard(1) / shards.FILE).write_text('{"what": "chains 1-3", "work": {"chains": [1, 2, 3]}, "of": 2}')
    assert supervisor.supervise(folder).headline == {"chains": [0, 1, 2, 3]}


def test_progress_adds_up_and_begins_with_a_fair_guess(tmp_path: Path) -> None:
    request = manifest.parse(SHARED)
    folder = supervisor.prepare(request, tmp_path / "run")
    worker_pool = WorkerPool(folder, request)
    assert worker_pool.together(1, Progress(5, 20, "steps", 30.0)) == Progress(5, 40, "steps", 30.0)
    assert worker_pool.together(0, Progress(10, 30, "steps", 8.0)) == Progress(15, 50, "steps", 30.0)
    assert worker_pool.together(1, Progress(20, 20, "steps", 0.0)) == Progress(30, 50, "steps", 8.0), (
        "who is done has no time left to wait for"
    )
    assert worker_pool.together(2, Progress(1, 4, "rows", 2.0)) == Progress(1, 4, "rows", 2.0), "who joins them speaks for the run"


def test_estimates_of_two_workers_are_one(scripted: Script) -> None:
    """As if one worker had told of the four halves: the formulas on numbers small enough to do by hand."""
    merge = RunningEstimate(manifest.parse(SHARED))

    def said(chain: int, halves: list[list[float]]) -> Metrics:
        return Metrics("estimate", 9, {"init_loss": 2.0, "ess": 2.0, "tokens_per_second": 100.0 * (chain + 1), "halves": halves})

    merge(0, said(0, [[2, 3.0, 0.5], [2, 5.0, 0.5]]))
    merged = merge(1, said(1, [[2, 4.0, 1.5], [2, 8.0, 1.5]]))
    assert isinstance(merged, Metrics)
    values = merged.values
    assert values["llc_mean"] == pytest.approx(30.0 * (5.0 - 2.0)) and values["tokens_per_second"] == 300.0 and values["ess"] == 4.0
    assert values["rhat"] == pytest.approx((1 / 2 + (14 / 3) / 1.0) ** 0.5), "means 3, 5, 4, 8 have variance 14/3; within, 1"
    assert "halves" not in values
    headline = merge(1, Metrics("headline", 9, {"llc_mean": -1.0}))
    assert isinstance(headline, Metrics) and headline.values["llc_mean"] == values["llc_mean"], "a listing shows the run's, not a worker's"
    other = Progress(1, 2, "steps")
    assert merge(0, other) is other
