"""Runs on a real Slurm of two nodes: the same digests as here, and nothing lost or done twice, whatever happens to tasks and daemons.

    make cluster            brings one up by slurm.sh (root, Debian's packages slurmctld slurmd slurm-client munge)
    make cluster-ci         the part of it that mostly waits, beside other tests: all that happens to tasks, and one comparison of digests

The runs whose digests are compared are computed; what happens to tasks is tried with workers that are scripts of a few lines.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "engine"))
from scripted_workers import PRELUDE, SAMPLE_OR_JOIN, SHARED, command, starts, supervised_apart

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.runfolder import RunFolder, Status
from interp_tui_engine.supervision.executors import slurm, slurm_commands

HERE = Path(__file__).resolve().parent
if not os.environ.get("INTERP_TUI_CLUSTER"):
    pytest.skip("make cluster runs these against a real Slurm", allow_module_level=True)
if os.geteuid() or shutil.which("slurmctld") is None:
    pytest.skip("needs root and slurmctld, slurmd and munged (Debian: tests/cluster/slurm.sh install)", allow_module_level=True)

computes = pytest.mark.skipif(os.environ["INTERP_TUI_CLUSTER"] == "short", reason="computes for minutes: make cluster has it")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
REQUEST = SHARED.replace('devices = ["cpu", "cpu"]', 'executor = "slurm"\n[compute.slurm]\ntasks = 2\n')
ONCE = "first = not (shard / 'tried').exists(); (shard / 'tried').touch()\n"
GATE = "while not (folder / 'go').exists(): time.sleep(0.05)\n"
WAIT = "wait_for_term() if first and me == 0 else None\n"
LLC = """
kind = "llc"
name = "same"
[model]
[data.train]
context = 16
rows = 32
[params]
lr = 1e-4
n_beta = 30.0
num_chains = 4
num_draws = 4
batch_size = 4
sampling_data = "train"
"""
SWEEP = LLC.replace("num_chains = 4", "num_chains = 1") + '[sweep]\n"params.lr" = [1e-5, 2e-5, 3e-5, 4e-5]\nseed = [1, 2]\n'
RESTRICTED = 'num_chains = 1\nrestrictions = ["l0h0", "l1h1"]\nobservables = { train = 1 }\ninclude_sampling_data = true'
SUSCEPTIBILITIES = LLC.replace('"llc"', '"susceptibilities"').replace("num_chains = 4", RESTRICTED)
PIPELINE = """
kind = "pipeline"
name = "chained"
[model]
[[step]]
id = "words"
kind = "records"
params = { prompts = "builtin:capital", layers = [1] }
[[step]]
id = "lens"
kind = "logit_lens"
params = { prompt = "The capital of France is", answer = " Paris" }
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster that is up."""
    place = Path("/tmp") / f"interp-tui-slurm-{os.getpid()}"  # munged wants every folder above its socket closed to others
    place.mkdir(mode=0o755)
    environment = os.environ | {"SLURM_HOME": str(place)}
    subprocess.run([HERE / "slurm.sh", "up"], env=environment, check=True, timeout=120)
    os.environ |= {"SLURM_CONF": str(place / "slurm.conf"), "SLURM_HOME": str(place)}
    yield place
    subprocess.run([HERE / "slurm.sh", "down"], env=environment, check=False, timeout=60)
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def make(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunFolder]:
    """A run whose workers are a script."""
    monkeypatch.setenv("INTERP_TUI_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(slurm, "POLL", 1.0)
    monkeypatch.setattr(slurm.SlurmExecutor, "tick", 0.2)
    monkeypatch.setattr(supervisor, "worker_command", command(tmp_path / "worker.py"))

    def scripted(body: str, text: str = REQUEST) -> RunFolder:
        (tmp_path / "worker.py").write_text(PRELUDE + body)
        path = tmp_path / "run"
        return RunFolder(path) if path.exists() else supervisor.prepare(manifest.parse(text), path)

    return scripted


class Supervised:
    def __init__(self, folder: RunFolder) -> None:
        self._ended: list[Status] = []
        self._thread = threading.Thread(target=lambda: self._ended.append(supervisor.supervise(folder)), daemon=True)
        self._thread.start()

    def end(self, seconds: float = 300) -> Status:
        self._thread.join(seconds)
        assert self._ended, "it has not ended"
        return self._ended[0]


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def tasks_of(folder: RunFolder) -> dict[str, slurm_commands.QueueRow]:
    """Every task that the run has submitted, as squeue shows it."""
    return slurm_commands.queue(slurm.Submissions(folder.path / "slurm").jobs)


def running(folder: RunFolder, count: int) -> Callable[[], bool]:
    return lambda: folder.status().cluster.get("running") == count and len(list((folder.path / "shards").glob("*/events.jsonl"))) == count


def restarts(job: str) -> int:
    shown = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return int(shown.split("Restarts=")[1].split()[0])


# -- the same numbers


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        pytest.param(LLC, 5, id="llc over 4 tasks"),
        pytest.param(SWEEP, 8, id="a sweep of 8 points", marks=computes),
        pytest.param(SUSCEPTIBILITIES, 4, id="susceptibilities over restrictions", marks=computes),
        pytest.param(PIPELINE, 2, id="a pipeline", marks=computes),
    ],
)
def test_digests_are_those_of_the_same_run_here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, tasks: int) -> None:
    monkeypatch.setenv("INTERP_TUI_CONFIG", str(tmp_path / "config"))
    digests = []
    for name, options in (("here", []), ("there", ["compute.executor=slurm"])):
        folder = supervisor.prepare(manifest.parse(text, overrides=options), tmp_path / name)
        status = supervisor.supervise(folder)
        assert status.state == "done", status.exit
        digests.append(tomli.loads(folder.manifest_path.read_text())["result"]["sha256"])
    assert digests[0] == digests[1] and digests[0]
    assert len(tasks_of(folder)) == tasks


# -- what happens to tasks


def test_scancel_ends_a_run_and_resume_goes_on(make: Callable[..., RunFolder]) -> None:
    folder = make("wait_for_term()")
    run = Supervised(folder)
    until(running(folder, 2))
    time.sleep(1)
    subprocess.run(["scancel", *slurm.Submissions(folder.path / "slurm").jobs], check=True)
    status = run.end()
    assert status.state == "interrupted" and status.exit["reason"] == "it was cancelled in Slurm"
    assert supervisor.supervise(make(SAMPLE_OR_JOIN)).headline == {"chains": [0, 1, 2, 3]}


def test_a_requeued_task_goes_on_in_its_place(make: Callable[..., RunFolder]) -> None:
    folder = make(ONCE + WAIT + SAMPLE_OR_JOIN)
    run = Supervised(folder)
    until((folder.shard(0) / "tried").exists)
    job = slurm.Submissions(folder.path / "slurm").jobs[0]
    time.sleep(1)
    subprocess.run(["scontrol", "requeue", f"{job}_0"], check=True)
    assert run.end().headline == {"chains": [0, 1, 2, 3]}
    assert restarts(f"{job}_0") == 1 and len(tasks_of(folder)) == 3


def test_a_task_preempted_by_an_urgent_one_goes_on_after_it(make: Callable[..., RunFolder]) -> None:
    folder = make(ONCE + WAIT + SAMPLE_OR_JOIN)
    run = Supervised(folder)
    until((folder.shard(0) / "tried").exists)
    time.sleep(1)
    urgent = ["sbatch", "--parsable", "-p", "urgent", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"]
    subprocess.run(urgent, check=True, capture_output=True)
    assert run.end().headline == {"chains": [0, 1, 2, 3]}
    job = slurm.Submissions(folder.path / "slurm").jobs[0]
    assert restarts(f"{job}_0") == 1 and len(tasks_of(folder)) == 3


def test_a_task_near_its_time_limit_saves_and_is_submitted_again(make: Callable[..., RunFolder]) -> None:
    body = ONCE + "signal.signal(signal.SIGUSR1, lambda *_: end('interrupted', 130, reason='stopped with a checkpoint'))\n"
    folder = make(body + "time.sleep(200) if first and me == 0 else None\n" + SAMPLE_OR_JOIN, REQUEST + 'time = "2"\nsignal_before = 90\n')
    status = Supervised(folder).end()
    assert status.headline == {"chains": [0, 1, 2, 3]} and len(tasks_of(folder)) == 4


def test_a_task_whose_node_went_down_is_done_on_another(make: Callable[..., RunFolder], home: Path) -> None:
    folder = make(ONCE + "time.sleep(600) if first and me == 0 else None\n" + SAMPLE_OR_JOIN)
    run = Supervised(folder)
    until((folder.shard(0) / "tried").exists)
    until(lambda: any(row.id.endswith("_0") and row.node for row in tasks_of(folder).values()))
    node = next(row.node for row in tasks_of(folder).values() if row.id.endswith("_0") and row.node)
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=test"], check=True)
    try:
        assert run.end().headline == {"chains": [0, 1, 2, 3]}
    finally:
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)  # it may have come back by itself


def test_a_controller_that_is_restarted_loses_nothing(make: Callable[..., RunFolder], home: Path) -> None:
    folder = make(GATE + SAMPLE_OR_JOIN)
    run = Supervised(folder)
    until(running(folder, 2))
    os.kill(int((home / "run" / "slurmctld.pid").read_text()), signal.SIGTERM)
    time.sleep(4)
    assert folder.status().state == "running"
    subprocess.run([HERE / "slurm.sh", "controller"], check=True)
    (folder.path / "go").touch()
    assert run.end().headline == {"chains": [0, 1, 2, 3]} and len(tasks_of(folder)) == 3


@pytest.mark.parametrize("rebooted", [False, True], ids=["killed", "its host rebooted"])
def test_a_lost_supervisor_leaves_its_tasks_to_the_next(make: Callable[..., RunFolder], tmp_path: Path, rebooted: bool) -> None:
    folder = make(GATE + SAMPLE_OR_JOIN)
    process = supervised_apart(tmp_path / "worker.py", folder)
    until(running(folder, 2))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if rebooted:  # what it left was written in another life of the host
        for path in (folder.path / "status.json", folder.lock_path.with_suffix(".lease")):
            record = json.loads(path.read_text())
            path.write_text(json.dumps(record | {"boot_id": "before"}))
    lost = folder.status()  # a script keeps no lease, as a worker does, by which its run would read as running, unsupervised
    assert lost.state == "crashed" and "resume takes them over" in lost.exit["reason"]
    run = Supervised(folder)
    until(running(folder, 2))
    (folder.path / "go").touch()
    assert run.end().headline == {"chains": [0, 1, 2, 3]}
    assert starts(folder) == [0, 1, 2] and len(tasks_of(folder)) == 3
