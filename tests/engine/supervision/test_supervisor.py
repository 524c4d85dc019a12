"""The supervisor against scripted workers: every way a worker can end has its state, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli
from scripted_workers import PRELUDE, Script, command, supervised_apart, told

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.errors import UserError
from interp_tui_engine.eventlog import EventLog
from interp_tui_engine.events import ChainFailed, Progress, RunFinished, Stamped, Warned

REQUEST = """
kind = "llc"
name = "scripted"
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:prose"
[params]
lr = 1e-4
n_beta = 30.0
"""


def test_a_finished_worker_is_done_with_result_and_digests(scripted: Script) -> None:
    folder = scripted("""
        log.append(RunStarted("llc", "scripted", device="cpu", provenance={"weights_sha256": "ab", "compute": {"chains": "serial"}}))
        log.append(Progress(3, 4, "draws", 1.5))
        end("done", headline={"llc_mean": 2.5}, digests={"loss": "cd"})
    """)
    heard: list[Stamped] = []
    status = supervisor.supervise(folder, heard.append)
    assert status.state == "done" and status.done == 3 and status.device == "cpu"
    tables = tomli.loads(folder.manifest_path.read_text())
    assert tables["result"] == {"headline": {"llc_mean": 2.5}, "sha256": {"loss": "cd"}}
    assert tables["provenance"]["weights_sha256"] == "ab"
    assert tables["compute"]["chains"] == "serial", "the worker's choice belongs to the manifest"
    logged = told(folder)
    assert logged == heard
    assert isinstance(logged[-1].event, RunFinished) and logged[-1].event.state == "done"
    assert [s.seq for s in logged] == list(range(1, len(logged) + 1))
    assert folder.status().state == "done"
    assert manifest.load(folder.manifest_path).params == manifest.parse(REQUEST).params


def on(gpu: str, end: str) -> str:
    """A worker that computes on this GPU."""
    made = f'provenance={{"device": "cuda", "gpu": "{gpu}"}}' if gpu else 'provenance={"device": "cpu, 8 cores"}'
    return f"""
        log.append(RunStarted("llc", "scripted", device="x", {made}))
        (folder / "report.md").write_text("# A report")
        {end}
    """


def test_another_type_of_device_in_mid_run_is_said_and_recorded(scripted: Script) -> None:
    stopped = "end('interrupted', 130, reason='stopped')"
    for gpu in ("H200", "H200", ""):
        folder = scripted(on(gpu, stopped))
        supervisor.supervise(folder)
    warnings = [stamped.event.message for stamped in told(folder) if isinstance(stamped.event, Warned)]
    assert len(warnings) == 1 and "goes on, on the CPU, with what H200 had begun" in warnings[0]
    supervisor.supervise(scripted(on("", "end('done')")))
    assert tomli.loads(folder.manifest_path.read_text())["provenance"]["device_types"] == ["H200", "the CPU"]
    assert "On H200 and on the CPU: the last bits" in folder.report_path.read_text()


def test_one_type_of_device_is_nothing_to_speak_of(scripted: Script) -> None:
    for end in ("end('interrupted', 130, reason='stopped')", "end('done')"):
        folder = scripted(on("H200", end))
        supervisor.supervise(folder)
    assert folder.report_path.read_text() == "# A report"
    assert "device_types" not in tomli.loads(folder.manifest_path.read_text())["provenance"]
    assert not [stamped for stamped in told(folder) if isinstance(stamped.event, Warned)]


@pytest.mark.parametrize(
    ("body", "state", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "SIGSEGV"),
        ("print('boom: no such thing', flush=True); sys.exit(7)", "crashed", "boom: no such thing"),
        ("end('failed', reason='every chain failed', advice='lower lr'); sys.exit(1)", "failed", "every chain failed"),
        ("end('interrupted', reason='stopped'); sys.exit(130)", "interrupted", "stopped"),
    ],
)
def test_every_end_is_recorded(scripted: Script, body: str, state: str, reason: str) -> None:
    folder = scripted(body)
    status = supervisor.supervise(folder)
    assert status.state == state
    assert reason in status.exit["reason"]
    last = told(folder)[-1].event
    assert isinstance(last, RunFinished) and last.state == state
    assert "result" not in tomli.loads(folder.manifest_path.read_text())


def test_a_resumed_run_copies_each_event_once(scripted: Script) -> None:
    folder = scripted("""
        log.append(ChainFailed(2, 31, "loss not finite"))
        with open(shard / "events.jsonl", "a") as file: file.write('{"v":1,"seq":99,"torn')
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert supervisor.supervise(folder).state == "crashed"
    scripted("""
        log.append(Progress(4, 4, "draws"))
        end("done")
    """)
    assert supervisor.supervise(folder).state == "done"
    kinds = [type(s.event) for s in told(folder)]
    assert kinds.count(ChainFailed) == 1 and kinds.count(Progress) == 1 and kinds.count(RunFinished) == 2
    assert [s.seq for s in told(folder)] == list(range(1, len(kinds) + 1))


def test_stop_reaches_the_worker_and_a_second_supervisor_is_refused(scripted: Script) -> None:
    folder = scripted("wait_for_stop()")
    done = threading.Thread(target=supervisor.supervise, args=(folder,))
    done.start()
    try:
        deadline = time.monotonic() + 20
        while folder.status().worker_pid is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert folder.status().state == "running"
        with pytest.raises(UserError, match="another supervisor"):
            supervisor.supervise(folder)
    finally:
        folder.send("stop")
        done.join(20)
    assert folder.status().state == "interrupted"


def test_a_killed_supervisor_reads_as_crashed(scripted: Script, tmp_path: Path) -> None:
    folder = scripted("time.sleep(60)")
    process = supervised_apart(tmp_path / "worker.py", folder)
    try:
        deadline = time.monotonic() + 20
        while folder.status().worker_pid is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert folder.status().state == "running"
        worker = folder.status().worker_pid
    finally:
        process.kill()
        process.wait()
    assert folder.status().state == "crashed"
    assert worker is not None
    os.kill(worker, signal.SIGKILL)


def test_a_second_interrupt_kills(scripted: Script) -> None:
    folder = scripted("""
        log.append(Progress(0, 1, "draws"))
        time.sleep(60)
    """)

    def interrupt(stamped: Stamped) -> None:
        if isinstance(stamped.event, Progress):
            for delay in (0.5, 1.5):
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()

    status = supervisor.supervise(folder, interrupt)
    assert status.state == "interrupted" and status.exit["signal"] == "SIGKILL"


def test_an_interrupt_before_the_lock_is_held_ends_the_run_as_any_other(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, held = scripted("wait_for_stop()"), supervisor.lease.held

    def signalled(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return held(*arguments)

    monkeypatch.setattr(supervisor.lease, "held", signalled)
    monkeypatch.setattr(sys, "argv", ["supervisor", str(folder.path)])
    assert supervisor.main() == 130
    assert (folder.status().state, folder.status().exit["reason"]) == ("interrupted", "stopped with a checkpoint")


def test_a_task_that_waits_for_its_folder_heeds_an_interrupt(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scripted("end('done')")
    monkeypatch.setattr(supervisor, "task_here", lambda: "slurm:1")
    with supervisor.lease.held(folder.lock_path, 0.0), pytest.raises(UserError, match="another supervisor"):
        supervisor.supervise(folder, interrupts=[signal.SIGTERM])


def test_input_only_the_worker_can_refuse_is_bad_input_all_the_same(scripted: Script) -> None:
    folder = scripted("end('failed', reason='no such revision', bad_input=True); sys.exit(1)")
    assert supervisor.exit_code(supervisor.supervise(folder)) == 2


def test_the_folder_is_private(scripted: Script) -> None:
    folder = scripted("end('done')")
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_exists_is_never_overwritten(scripted: Script) -> None:
    folder = scripted("end('done')")
    with pytest.raises(UserError, match="exists"):
        supervisor.prepare(manifest.parse(REQUEST), folder.path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_fails_the_run_and_space_lets_it_resume(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker.py"
    monkeypatch.setattr(supervisor, "worker_command", command(script))
    script.write_text(
        PRELUDE
        + textwrap.dedent("""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(28))
        (folder.parent / "filler").write_bytes(b"x" * (900 << 10))
        while True:
            try: log.append(Warned("x" * 4000))
            except OSError: time.sleep(0.05)
        """)
    )
    folder = supervisor.prepare(manifest.parse(REQUEST), small_disk / "run")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and "disk is full" in status.exit["reason"]
    (small_disk / "filler").unlink()
    script.write_text(PRELUDE + "end('done')")
    assert supervisor.supervise(folder).state == "done"
    seqs = [s.seq for s in told(folder)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_worker_that_is_held_is_woken_to_stop(scripted: Script) -> None:
    folder = scripted("""
        log.append(Warned(str(os.getpid())))
        os.kill(os.getpid(), signal.SIGSTOP)
        wait_for_stop()
    """)

    def stop(stamped: Stamped) -> None:
        if isinstance(stamped.event, Warned):
            while psutil.Process(int(stamped.event.message)).status() != psutil.STATUS_STOPPED:
                time.sleep(0.01)
            folder.send("stop")

    status = supervisor.supervise(folder, stop)
    assert (status.state, status.exit["reason"]) == ("interrupted", "stopped with a checkpoint")


def test_a_worker_that_takes_no_orders_is_ended(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_tui_engine.supervision.executors.local.LocalJob.order_patience", 0.3)
    folder = scripted("""
        log.append(Progress(0, 1, "draws"))
        time.sleep(1000)
    """)

    def stop(stamped: Stamped) -> None:
        if isinstance(stamped.event, Progress):
            folder.send("stop")

    status = supervisor.supervise(folder, stop)
    assert status.state == "interrupted" and supervisor.exit_code(status) == 130
    assert "took no orders" in status.exit["reason"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("shutil.rmtree(folder)", "the run folder is gone"),
        ("folder.rename(folder.with_name('elsewhere'))", "the run folder is gone"),
        ("os.remove(folder / 'status.json'); (folder / 'status.json' / 'x').mkdir(parents=True)", "cannot be written: status.json"),
    ],
)
def test_a_folder_that_cannot_be_written_any_more_is_said_and_its_worker_ends(scripted: Script, fault: str, reason: str) -> None:
    # the supervisor may write between two calls of a fault, which is then tried again
    folder = scripted(f"""
        import shutil
        log.append(RunStarted("llc", "scripted", device="cpu"))
        time.sleep(0.3)
        while folder.exists() and not (folder / "status.json" / "x").exists():
            try: {fault}
            except OSError: pass
        mother = os.getppid()
        signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
        while os.getppid() == mother: time.sleep(0.01)
    """)
    status = supervisor.supervise(folder)
    assert status.state == "failed" and reason in status.exit["reason"] and status.exit["advice"]
    assert supervisor.exit_code(status) == 1


@pytest.mark.parametrize("place", ["events.jsonl", "shards/0/events.jsonl"])
def test_a_log_that_is_a_pipe_or_a_folder_is_refused_in_words(scripted: Script, place: str) -> None:
    folder = scripted("end('interrupted', 130, reason='stopped with a checkpoint')")
    supervisor.supervise(folder)
    path = folder.path / place
    for make in (os.mkfifo, os.mkdir):
        path.unlink() if path.is_fifo() or path.is_file() else None
        make(path)
        with pytest.raises(UserError, match="no regular file"):
            if place == "events.jsonl":
                supervisor.supervise(folder)
            EventLog(path)


def test_a_pipe_in_the_place_of_a_text_log_holds_nobody(scripted: Script) -> None:
    folder = scripted("end('done')")
    os.mkfifo(folder.path / "supervisor.log")
    with pytest.raises(UserError, match="not a regular file"):
        supervisor.launch(folder)
    folder.shard(0).mkdir(parents=True)
    os.mkfifo(folder.shard(0) / "engine.log")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and "engine.log: not a regular file" in status.exit["reason"]
