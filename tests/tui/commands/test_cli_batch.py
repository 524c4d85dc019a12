"""--batch, resume, replay, attach and detach, with a script in the worker's place: what goes to stdout and stderr, and the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
from cli_tools import HOSTILE, PRELUDE, Cli, cli, request_file, worker

from interp_tui.commands.progress_display import PlainLines, RichDisplay, progress_line
from interp_tui.runs.runstate import RunState
from interp_tui_engine import manifest
from interp_tui_engine.events import ChainFailed, Event, Metrics, Phase, Progress, RunFinished, Stamped, from_line
from interp_tui_engine.runfolder import Owner, RunFolder, Status

__all__ = ["cli", "request_file", "worker"]
Worker = Callable[[str], None]
pytestmark = pytest.mark.usefixtures("worker")
FAILS = 'end("failed", reason="all chains failed", advice="lower lr")'


def only_run(root: Path) -> RunFolder:
    (path,) = root.iterdir()
    return RunFolder(path)


# --- what is said where


def test_plain_lines_and_the_folder_last(cli: Cli, request_file: Path, runs_root: Path) -> None:
    answer = cli("--batch", request_file)
    assert answer.code == 0
    assert answer.last == str(only_run(runs_root).path)
    assert "sampling" in answer.out and "chain 1 failed at step 31" in answer.out and "λ̂ 38.2" in answer.out
    assert "run folder ./runs/" in answer.err


def test_json_is_one_event_a_line_and_nothing_else(cli: Cli, request_file: Path, runs_root: Path) -> None:
    answer = cli("--batch", request_file, "--json")
    assert answer.code == 0 and answer.err == ""
    events = [from_line(line) for line in answer.out.splitlines()]
    assert answer.records[0]["type"] == "run_folder" and Path(answer.records[0]["path"]) == only_run(runs_root).path
    assert [stamped.seq for stamped in events[1:]] == list(range(1, len(events)))
    assert isinstance(events[-1].event, RunFinished)
    assert only_run(runs_root).events_path.read_text().splitlines() == answer.out.splitlines()[1:]


def test_out_is_the_folder(cli: Cli, request_file: Path, tmp_path: Path) -> None:
    answer = cli("--batch", request_file, "--out", tmp_path / "deep" / "run")
    assert answer.code == 0 and answer.last == str(tmp_path / "deep" / "run")


def test_set_changes_the_run(cli: Cli, request_file: Path, runs_root: Path) -> None:
    cli("--batch", request_file, "--set", "params.lr=3e-4", "--set", "name=warm")
    request = manifest.load(only_run(runs_root).path)
    assert request.params.lr == 3e-4 and request.name == "warm"


def test_a_failed_run_is_exit_1_with_its_advice(cli: Cli, request_file: Path, worker: Worker, runs_root: Path) -> None:
    worker(FAILS)
    answer = cli("--batch", request_file)
    assert answer.code == 1
    assert "error: the run failed: all chains failed" in answer.err and "lower lr" in answer.err
    assert answer.last == str(only_run(runs_root).path)


def test_a_crashed_run_is_exit_1(cli: Cli, request_file: Path, worker: Worker) -> None:
    worker("os.kill(os.getpid(), signal.SIGKILL)")
    answer = cli("--batch", request_file)
    assert answer.code == 1 and "SIGKILL" in answer.err


def test_hostile_events_reach_no_terminal(cli: Cli, request_file: Path, worker: Worker, runs_root: Path) -> None:
    worker(f"""
        hostile = {HOSTILE!r}
        log.append(RunStarted("llc", hostile, hostile))
        log.append(Phase(hostile, hostile))
        log.append(Warned(hostile))
        log.append(ChainFailed(1, 2, hostile))
        log.append(Metrics("headline", 0, {{hostile: hostile}}))
        log.append(Progress(1.0, 2.0, hostile))
        end("failed", reason=hostile, advice=hostile, headline={{hostile: hostile}})
    """)
    for option in ("--plain", "--json"):
        root = runs_root / option
        answer = cli("--batch", request_file, option, "--runs", root, "--set", "name=" + json.dumps(HOSTILE))
        assert answer.code == 1
        assert answer.is_safe()
    for command in (["list"], ["show", "llc"], ["attach", "llc"], ["compare", "llc", "llc"], ["export", "llc", "--to", "json"]):
        answer = cli(*command, "--runs", root)
        assert answer.out and answer.is_safe()


# --- places


def test_an_output_folder_that_exists_is_left_alone(cli: Cli, request_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    for extra in ([], ["--dry-run"], ["--detach"]):
        answer = cli("--batch", request_file, "--out", tmp_path / "run", *extra)
        assert answer.code == 2 and "output folder exists" in answer.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


@pytest.mark.parametrize("place", ["/proc/none/run", "{tmp}/file/run"])
def test_a_place_that_cannot_be_written(cli: Cli, request_file: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    answer = cli("--batch", request_file, "--out", place.format(tmp=tmp_path))
    assert answer.code == 2 and "cannot make the run folder" in answer.err


def test_a_run_folder_is_a_manifest_and_gives_a_new_folder(cli: Cli, request_file: Path, runs_root: Path, tmp_path: Path) -> None:
    first = Path(cli("--batch", request_file).last)
    for source in (first, first / "manifest.toml"):
        again = Path(cli("--batch", source).last)
        assert again != first
        assert manifest.load(again).digest() == manifest.load(first).digest()


# --- dry run, reuse


def test_dry_run_creates_nothing(cli: Cli, request_file: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    answer = cli("--batch", request_file, "--dry-run")
    assert answer.code == 0
    for word in ("time", "memory", "disk", "free"):
        assert word in answer.out
    assert not Path(answer.last).exists() and Path(answer.last).is_absolute() and "nothing has been created" in answer.err
    named = tmp_path / "there"
    assert cli("--batch", request_file, "--dry-run", "--out", named).last == str(named)
    (record,) = cli("--batch", request_file, "--dry-run", "--json").records
    assert record["type"] == "estimate" and record["memory_bytes"] > 0 and record["seconds"] > 0
    assert set(tmp_path.rglob("*")) == before


def test_reuse_names_an_equal_run(cli: Cli, request_file: Path, runs_root: Path) -> None:
    first = cli("--batch", request_file)
    again = cli("--batch", request_file, "--reuse", "--set", "name=other")
    assert again.code == 0 and again.last == first.last and "an equal run has finished" in again.err
    assert len(list(runs_root.iterdir())) == 1
    (record,) = cli("--batch", first.last, "--reuse", "--json").records
    assert record["reused"] is True and record["path"] == first.last
    assert cli("--batch", request_file, "--reuse", "--set", "seed=7").last != first.last


@pytest.mark.parametrize("change", ["code_sha256", "request_sha256", "python", "state"])
def test_reuse_takes_no_run_of_other_code_or_request(cli: Cli, request_file: Path, change: str) -> None:
    first = RunFolder(Path(cli("--batch", request_file).last))
    if change == "state":
        first.write_status(Status(state="interrupted"))
    else:
        text = first.manifest_path.read_text()
        start = text.index(f"{change} = ")
        first.manifest_path.write_text(text[:start] + f'{change} = "0"' + text[text.index("\n", start) :])
        if change == "request_sha256":
            first.manifest_path.write_text(first.manifest_path.read_text().replace("seed = 100", "seed = 101"))
    assert cli("--batch", request_file, "--reuse").last != str(first.path)


def test_reuse_takes_no_run_of_data_that_has_changed(cli: Cli, request_file: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.txt"
    data.write_text("x")
    os.utime(data, (1, 1))
    request_file.write_text(request_file.read_text().replace("builtin:prose", "./rows.txt"))
    first = cli("--batch", request_file).last
    assert cli("--batch", request_file, "--reuse").last == first
    data.write_text("y")
    assert cli("--batch", request_file, "--reuse").last != first


# --- resume


def test_resume_goes_on_in_the_same_folder(cli: Cli, request_file: Path, worker: Worker, tmp_path: Path) -> None:
    worker(FAILS)
    out = tmp_path / "run"
    assert cli("--batch", request_file, "--out", out).code == 1
    worker('log.append(Phase("again"))\nend("done")')
    for arguments in (("--batch", out, "--resume"), ("--batch", request_file, "--out", out, "--resume")):
        answer = cli(*arguments)
        assert answer.code == 0 and answer.last == str(out)
    assert "done already" in answer.err
    assert cli("resume", out).code == 0


def test_resume_by_its_manifest(cli: Cli, request_file: Path, worker: Worker) -> None:
    worker(FAILS)
    folder = Path(cli("--batch", request_file).last)
    worker('end("done")')
    assert cli("--batch", folder / "manifest.toml", "--resume").last == str(folder)


def test_resume_refuses_what_it_cannot_mean(cli: Cli, request_file: Path, worker: Worker, tmp_path: Path) -> None:
    worker(FAILS)
    out = tmp_path / "run"
    cli("--batch", request_file, "--out", out)
    assert "cannot change a run that has begun" in cli("--batch", out, "--resume", "--set", "seed=1").err
    request_file.write_text(request_file.read_text().replace("1e-4", "2e-4"))
    answer = cli("--batch", request_file, "--out", out, "--resume")
    assert answer.code == 2 and "another request" in answer.err
    assert "is a manifest, not a run" in cli("--batch", request_file, "--resume").err
    (tmp_path / "empty").mkdir()
    assert "holds no manifest.toml" in cli("--batch", tmp_path / "empty", "--resume").err
    (tmp_path / "empty" / "manifest.toml").write_text(request_file.read_text())  # somebody's own folder with a manifest of that name
    for arguments in (("--batch", tmp_path / "empty", "--resume"), ("resume", tmp_path / "empty")):
        assert "holds a manifest but no run" in cli(*arguments).err
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["manifest.toml"]


def test_two_supervisors_on_one_folder(cli: Cli, request_file: Path, worker: Worker, tmp_path: Path) -> None:
    worker(FAILS)
    out = tmp_path / "run"
    cli("--batch", request_file, "--out", out)
    before = (out / "events.jsonl").read_bytes()
    with filelock.FileLock(out / "run.lock"):
        answer = cli("resume", out)
    assert answer.code == 2 and "another supervisor" in answer.err
    RunFolder(out).write_status(Status(state="running", owner=Owner.me(), updated=time.time()))
    assert cli("resume", out).code == 2
    assert (out / "events.jsonl").read_bytes() == before


# --- replay


def test_replay_check_of_equal_arrays(cli: Cli, request_file: Path, runs_root: Path) -> None:
    first = Path(cli("--batch", request_file).last)
    answer = cli("replay", first.name, "--check")
    assert answer.code == 0
    assert "loss  equal" in answer.out and answer.last != str(first) and Path(answer.last).parent == runs_root


def test_replay_check_of_arrays_that_differ(cli: Cli, request_file: Path, worker: Worker) -> None:
    first = Path(cli("--batch", request_file).last)
    worker('end("done", digests={"loss": "cd", "grad": "ef"})')
    answer = cli("replay", first, "--check")
    assert answer.code == 1
    assert "loss  differs" in answer.out and "grad  only in the replay" in answer.out
    record = cli("replay", first, "--check", "--json").records[-1]
    assert record["type"] == "replay_check" and record["equal"] is False


def test_replay_check_needs_a_finished_run(cli: Cli, request_file: Path, worker: Worker, runs_root: Path) -> None:
    worker(FAILS)
    folder = cli("--batch", request_file).last
    answer = cli("replay", folder, "--check")
    assert answer.code == 2 and "no digests" in answer.err
    assert len(list(runs_root.iterdir())) == 1
    assert cli("replay", folder).code == 1


# --- signals, detaching


def driver(tmp_path: Path, body: str) -> list[str]:
    """A command that runs interp-tui with the script in its worker's place, in a process of its own."""
    script = tmp_path / "slow_worker.py"
    script.write_text(PRELUDE + textwrap.dedent(body))
    code = f"""
import sys
from interp_tui_engine import supervisor
supervisor.worker_command = lambda folder, shard: [sys.executable, {str(script)!r}, str(folder.path)]
from interp_tui.__main__ import main
sys.exit(main())
"""
    (tmp_path / "driver.py").write_text(code)
    return [sys.executable, str(tmp_path / "driver.py")]


def test_ctrl_c_stops_with_a_checkpoint(request_file: Path, tmp_path: Path, cli: Cli, worker: Worker) -> None:
    command = driver(tmp_path, 'log.append(Phase("waiting"))\nwait_for_stop()\nend("interrupted", reason="stopped with a checkpoint")\n')
    process = subprocess.Popen([*command, "--batch", "m.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interp-tui resume" in err and "Traceback" not in err
    folder = RunFolder(Path(out.strip().splitlines()[-1]))
    assert folder.status().state == "interrupted"
    worker('end("done")')
    assert cli("resume", folder.path).code == 0


def test_attach_follows_to_the_end_and_ctrl_c_only_detaches(request_file: Path, tmp_path: Path, cli: Cli) -> None:
    command = driver(tmp_path, 'log.append(Phase("waiting"))\nwait_for_stop()\nend("interrupted")\n')
    run = subprocess.Popen([*command, "--batch", "m.toml", "--out", "run"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert run.stdout is not None and run.stdout.readline() == "waiting\n"
    watch = [sys.executable, "-m", "interp_tui", "attach", "run", "--plain"]
    viewer = subprocess.Popen(watch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert viewer.stdout is not None and viewer.stdout.readline() == "waiting\n"
    viewer.send_signal(signal.SIGINT)
    _, err = viewer.communicate(timeout=60)
    assert viewer.returncode == 0 and "the run goes on" in err and "Traceback" not in err
    assert run.poll() is None and RunFolder(tmp_path / "run").status().state == "running"
    answer = cli("stop", tmp_path / "run", "--wait")
    assert answer.code == 0 and "is interrupted" in answer.err
    assert run.wait(timeout=60) == 130
    assert cli("attach", tmp_path / "run", "--json").code == 130


def test_a_run_outlives_its_reader(request_file: Path, tmp_path: Path) -> None:
    command = driver(tmp_path, 'log.append(Phase("one"))\nwait_for_stop()\nlog.append(Phase("two" * 9999))\nend("done")\n')
    process = subprocess.Popen(
        [*command, "--batch", "m.toml", "--out", "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"one\n"
    process.stdout.close()
    RunFolder(tmp_path / "run").send("stop")
    assert process.wait(timeout=60) == 0
    assert RunFolder(tmp_path / "run").status().state == "done"
    assert b"rror" not in process.stderr.read()
    process.stderr.close()


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m interp_tui schema | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""


# --- the displays


def stamped(*events: Event) -> list[Stamped]:
    return [Stamped(seq, float(seq), event) for seq, event in enumerate(events, start=1)]


def test_plain_progress_comes_every_few_seconds_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    display = PlainLines(every=3.0, clock=lambda: now)
    with display:
        for step in range(100):
            now = step * 0.1
            display.listen(Stamped(step + 1, now, Progress(float(step), 100.0, "draws")))
        display.listen(Stamped(101, now, Phase("report")))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:-2]] == ["0/100", "30/100", "60/100", "90/100"]
    assert lines[-2:] == ["report", "draws 99/100  99 %"]


def test_a_progress_line_says_what_the_screen_shows() -> None:
    state = RunState()
    values = {"llc_mean": 38.2, "llc_std": 0.9}
    state.apply_all(stamped(Progress(142, 200, "draws", 72.0), Metrics("headline", 1, values), ChainFailed(2, 31, "x")))
    line = progress_line(state)
    for part in ("draws 142/200", "71 %", "ETA 1 m 12 s", "λ̂ 38.2", "1 chain failed"):
        assert part in line


def test_the_rich_display_shows_the_same(tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    folder = RunFolder(tmp_path)
    folder.write_status(Status(state="running", kind="llc", name="tiny", owner=Owner.me(), updated=time.time()))
    text = StringIO()
    display = RichDisplay(folder, Console(file=text, force_terminal=True, width=100, color_system=None))
    with display:
        for event in stamped(
            Phase("sampling"), Progress(142, 200, "draws", 72.0), Metrics("headline", 1, {"llc_mean": 38.2}), ChainFailed(2, 31, HOSTILE)
        ):
            display.listen(event)
    shown = text.getvalue()
    for part in ("llc · tiny", "sampling", "draws 142/200", "ETA 1 m 12 s", "λ̂ 38.2", "1 chain failed", "chain 2 failed at step 31"):
        assert part in shown
    assert "\x1b]52" not in shown and "\u202e" not in shown
