"""list, show, compare, export, stop, locate, doctor, completion: over runs in every state, damaged ones and strangers'."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli
from cli_tools import HOSTILE, Cli, cli
from fake_run import sampling

from interp_tui.commands.runs import fitted
from interp_tui_engine import catalog
from interp_tui_engine.events import ChainFailed, Metrics, RunFinished, Warned
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]
RESULT = {"kind": "llc", "name": "a", "llc_mean": 38.2, "llc_per_chain": [38.0, 38.4], "nested": {"rhat": 1.02}}


def test_list_is_a_table_newest_first(cli: Cli, make_run: MakeRun) -> None:
    make_run("old", age=7200)
    make_run("live", state="running", done=50, age=60)
    answer = cli("list")
    header, first, second = answer.out.splitlines()
    assert header.split() == ["state", "kind", "name", "model", "progress", "headline", "age", "folder"]
    assert "live" in first and "running" in first and "50 %" in first and "old" in second


@pytest.mark.parametrize("width", [None, 140, 80, 60])
def test_list_fits_the_terminal_and_keeps_the_folder(width: int | None) -> None:
    row = ("✓", "interrupted", "llc", "tiny", "builtin:tiny", "100 %", "λ̂ 38.2 ± 0.9  R̂ 1.02", "12 m", "20260921-999998-llc-tiny")
    (line,) = fitted([row], width)
    assert row[-1] in line and row[0] in line and row[6] in line
    assert width is None or len(line) <= width + 2  # the hats have no width


def test_list_can_be_narrowed(cli: Cli, make_run: MakeRun) -> None:
    make_run("a")
    make_run("b", state="failed", age=10)
    make_run("c", kind="sample", age=20)
    assert [record["name"] for record in json.loads(cli("list", "--json", "--state", "done").out)] == ["c", "a"]
    assert [record["name"] for record in json.loads(cli("list", "--json", "--kind", "sample").out)] == ["c"]
    answer = cli("list", "--state", "dome")
    assert answer.code == 2 and "Did you mean 'done'?" in answer.err


def test_list_of_nothing_says_what_to_do(cli: Cli) -> None:
    answer = cli("list")
    assert answer.code == 0 and answer.out == "" and "interp-tui new" in answer.err
    assert json.loads(cli("list", "--json").out) == []


def test_show_says_all(cli: Cli, make_run: MakeRun) -> None:
    events = [
        Metrics("chains", 1, {"chains": [0, 1], "draws": [7, 3], "draws_total": 9, "loss": [3.1, None], "llc": [38.0, None]}),
        ChainFailed(1, 31, "loss not finite"),
        Warned("memory is low"),
        RunFinished("failed", 2.0),
    ]
    run = make_run("a", state="failed", exit={"reason": "all chains failed", "advice": "lower lr"}, events=events, result=RESULT)
    run.manifest_path.write_text(run.manifest_path.read_text() + '[result.sha256]\nloss = "abcd"\n')
    answer = cli("show", "a")
    assert answer.code == 0
    said = [
        "failed",
        "all chains failed",
        "lower lr",
        "38.20",
        "nested.rhat",
        "failed at step 31: loss not finite",
        "memory is low",
        "abcd",
        "7/9",
    ]
    for word in said:
        assert word in answer.out
    record = json.loads(cli("show", "a", "--json").out)
    assert record["status"]["state"] == "failed" and record["sha256"] == {"loss": "abcd"} and record["result"]["llc_mean"] == 38.2


DAMAGE: dict[str, Callable[[RunFolder], object]] = {
    "manifest is no TOML": lambda run: run.manifest_path.write_text("= = ="),
    "manifest is no text": lambda run: run.manifest_path.write_bytes(b"\xff\xfe\x00"),
    "manifest is empty": lambda run: run.manifest_path.write_text(""),
    "manifest is of another program": lambda run: run.manifest_path.write_text('result = 3\nprovenance = "x"\nkind = [1]\n'),
    "status is gone": lambda run: (run.path / "status.json").unlink(),
    "status is no JSON": lambda run: (run.path / "status.json").write_text("{"),
    "status has other types": lambda run: (run.path / "status.json").write_text(
        '{"state": [], "progress": 3, "headline": {"x": [{}]}, "exit": {"reason": {}}, "started": 1e300, "pid": -1, "host": "x"}'
    ),
    "result is no JSON": lambda run: run.result_path.write_text("{"),
    "result is a list": lambda run: run.result_path.write_text("[1, 2]"),
    "result has odd values": lambda run: run.result_path.write_text('{"a": [[1, {"b": null}], "x"], "c": {}}'),
    "log is binary": lambda run: run.events_path.write_bytes(os.urandom(5000)),
    "log has odd events": lambda run: run.events_path.write_text(
        '{"seq":1,"type":"metrics","series":"chains","step":1,"values":{"chains":3}}\n{"seq":2,"type":"chain_failed","chain":"x"}\n'
    ),
    "log is a folder": lambda run: run.events_path.rename(run.path / "x") and run.events_path.mkdir(),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_never_breaks_a_command(cli: Cli, make_run: MakeRun, damage: str) -> None:
    whole = make_run("whole", result=RESULT)
    run = make_run("broken", age=10, result=RESULT)
    DAMAGE[damage](run)
    assert "whole" in cli("list").out
    assert cli("list", "--json").code == 0
    assert cli("show", "broken").code == 0
    assert json.loads(cli("show", "broken", "--json").out)["path"] == str(run.path)
    for command in (("compare", run.path, whole.path), ("export", run.path, "--to", "csv"), ("export", run.path, "--to", "json")):
        assert cli(*command).code in (0, 2)
    for other in (("replay", run.path, "--check"), ("new", "--from", run.path), ("stop", run.path), ("validate", run.path)):
        answer = cli(*other)
        assert answer.code in (0, 2)
    assert cli("attach", run.path, "--plain").code in (0, 1)


def test_strangers_are_no_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for command in ("show", "attach", "resume", "stop", "pause", "unpause", "replay"):
        answer = cli(command, tmp_path / "folder")
        assert answer.code == 2 and "holds no manifest.toml" in answer.err
        assert cli(command, "nothing-like-it").code == 2
    assert list((tmp_path / "folder").iterdir()) == []


def test_show_says_how_each_workers_share_stands(cli: Cli, make_run: MakeRun) -> None:
    run = make_run("a")
    rows = [
        {"shard": 0, "what": "chains 0-1", "device": "cuda:0", "state": "done", "pid": None, "done": 40.0, "total": 40.0},
        {"shard": 1, "what": HOSTILE, "device": "cuda:1", "state": "crashed", "done": None},
    ]
    run.write_status(replace(run.status(), shards=tuple(rows)))
    answer = cli("show", "a")
    lines = answer.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:2] == ["worker", "device"])
    assert lines[at + 1].split() == ["0", "cuda:0", "done", "40/40", "chains", "0-1"]
    assert "crashed" in lines[at + 2] and "\x1b" not in answer.out
    assert json.loads(cli("show", "a", "--json").out)["status"]["shards"][0]["device"] == "cuda:0"


def test_hostile_runs_are_shown_as_text(cli: Cli, make_run: MakeRun, runs_root: Path) -> None:
    run = make_run("x", state="failed", exit={"reason": HOSTILE, "advice": HOSTILE}, headline={HOSTILE: HOSTILE}, model=HOSTILE)
    tables = json.dumps(HOSTILE)
    run.manifest_path.write_text(
        run.manifest_path.read_text().replace('name = "x"', f"name = {tables}") + f"[result.sha256]\n{tables} = {tables}\n"
    )
    run.result_path.write_text(json.dumps({"a": HOSTILE, HOSTILE: [HOSTILE]}))
    run.path.rename(runs_root / f"20260921-{HOSTILE}".replace("/", ""))
    other = make_run("other", age=5)
    for command in (("list",), ("list", "--json"), ("show", "20260921-\x1b"), ("compare", other.path, "20260921-\x1b"), ("doctor",)):
        answer = cli(*command)
        assert answer.code == 0 and answer.is_safe()


def test_compare_names_what_differs(cli: Cli, make_run: MakeRun) -> None:
    first = make_run("a", result=RESULT)
    second = make_run("b", age=10, result=RESULT | {"llc_mean": 40.0})
    second.manifest_path.write_text(second.manifest_path.read_text().replace("num_draws = 100", "num_draws = 50"))
    out = cli("compare", first.path, second.path).out
    assert "params.num_draws  100" in out and "params.lr" not in out and "40.00" in out
    record = json.loads(cli("compare", "a", "b", "--json").out)
    assert record["manifest"]["params.num_draws"] == [100, 50]


def test_export_csv_is_long_and_complete(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a", result=RESULT, events=[Metrics("chains", 3, {"loss": [1.0, None]}), Metrics("estimate", 3, {"llc": 2.0})])
    rows = list(csv.DictReader(io.StringIO(cli("export", "a", "--to", "csv").out)))
    assert {"series": "result", "step": "", "key": "llc_mean", "index": "", "value": "38.2"} in rows
    assert {"series": "result", "step": "", "key": "llc_per_chain", "index": "1", "value": "38.4"} in rows
    assert {"series": "chains", "step": "3", "key": "loss", "index": "1", "value": ""} in rows
    assert {"series": "estimate", "step": "3", "key": "llc", "index": "", "value": "2.0"} in rows
    assert cli("export", "a", "--to", "csv", "-o", tmp_path / "a.csv").code == 0
    assert cli("export", "a", "--to", "csv", "-o", tmp_path / "a.csv").code == 2


def test_export_json(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a", result=RESULT, events=[Metrics("estimate", 3, {"llc": 2.0})])
    cli("export", "a", "--to", "json", "-o", tmp_path / "a.json")
    record: dict[str, Any] = json.loads((tmp_path / "a.json").read_text())
    assert record == json.loads(cli("export", "a", "--to", "json").out)
    assert record["result"] == RESULT and record["series"] == {"estimate": [{"step": 3, "llc": 2.0}]}
    assert record["manifest"]["params"]["num_draws"] == 100


@pytest.mark.parametrize("target", ["pdf", "jsn"])
def test_export_to_what_is_not_there_says_so(cli: Cli, make_run: MakeRun, target: str) -> None:
    make_run("a")
    answer = cli("export", "a", "--to", target)
    assert answer.code == 2 and ("csv" in answer.err) and (target != "jsn" or "Did you mean 'json'?" in answer.err)


@pytest.mark.parametrize(("tab", "said"), [("live", "loss per chain"), ("manifest", 'source = "builtin:tiny"'), ("log", "loading model")])
def test_a_screen_as_plain_lines(cli: Cli, make_run: MakeRun, tab: str, said: str) -> None:
    make_run("a", events=sampling(30), result=RESULT)
    answer = cli("show", "a", "--screen", tab, "--size", "90x30")
    lines = answer.out.splitlines()
    assert answer.code == 0 and said in answer.out and "\x1b" not in answer.out
    assert lines[0].split()[1:3] == ["llc", "·"] and len(lines) <= 28 and max(map(len, lines)) <= 90


@pytest.mark.parametrize(("arguments", "said"), [(("--screen", "lvie"), "live, result"), (("--screen", "log", "--size", "9"), "120x40")])
def test_a_screen_that_is_none(cli: Cli, make_run: MakeRun, arguments: tuple[str, ...], said: str) -> None:
    make_run("a")
    answer = cli("show", "a", *arguments)
    assert answer.code == 2 and said in answer.err


def test_steering_a_live_run_leaves_commands(cli: Cli, make_run: MakeRun) -> None:
    run = make_run("a", state="running")
    for command, file in (("pause", "pause"), ("unpause", "resume"), ("stop", "stop")):
        assert cli(command, "a").code == 0
        assert run.take_commands() == [file]
    assert cli("stop", "a", "--kill").code == 0
    assert run.take_commands() == ["kill"]


def test_steering_a_run_that_has_ended_is_bad_input(cli: Cli, make_run: MakeRun) -> None:
    run = make_run("a")
    for command in ("pause", "unpause", "stop"):
        answer = cli(command, "a")
        assert answer.code == 2 and "is done" in answer.err
    assert run.take_commands() == []


def test_resume_of_a_done_run_does_nothing(cli: Cli, make_run: MakeRun) -> None:
    run = make_run("a")
    answer = cli("resume", "a")
    assert answer.code == 0 and "done already" in answer.err and answer.last == str(run.path)


def test_attach_to_a_crashed_run_ends_and_says_how_to_resume(cli: Cli, make_run: MakeRun) -> None:
    run = make_run("a", state="crashed", exit={"reason": "owner gone"})
    answer = cli("attach", "a", "--plain")
    assert answer.code == 1 and "owner gone" in answer.err and answer.last == str(run.path)


def test_locate(cli: Cli, runs_root: Path, tmp_path: Path) -> None:
    places = json.loads(cli("locate", "--json").out)
    assert places["runs"] == str(runs_root)
    assert places["config"] == str(tmp_path / "config")
    assert {"themes", "builtin model", "log"} <= set(places)
    assert str(runs_root) in cli("locate").out


def test_doctor_reports_and_tells_no_secret(cli: Cli, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    make_run("gone", state="crashed")
    answer = cli("doctor")
    assert answer.code == 0 and "verysecret" not in answer.out
    for word in (
        "python",
        "torch",
        "cores",
        "memory",
        "runs folder",
        "terminal",
        "hub credentials",
        "service keys",
        "present",
        "builtin:tiny",
        "1 crashed",
    ):
        assert word in answer.out
    findings = json.loads(cli("doctor", "--json").out)
    assert all(set(finding) - {"free_bytes"} == {"ok", "name", "found", "advice"} for finding in findings)
    runs = next(finding for finding in findings if finding["name"] == "runs")
    assert runs["ok"] is False and "resume" in runs["advice"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(cli: Cli, shell: str) -> None:
    answer = cli("completion", shell)
    assert answer.code == 0 and "_INTERP_TUI_COMPLETE" in answer.out
    assert cli("completion", "tcsh").code == 2


def test_completion_is_installed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    answer = cli("completion", "bash", "--install")
    assert answer.code == 0 and Path(answer.last).is_file()


def test_what_new_writes_is_plain_toml(cli: Cli) -> None:
    """Nothing but the manifest goes to stdout, so that `interp-tui new llc > llc.toml` is one."""
    for kind in catalog.kind_names():
        assert tomli.loads(cli("new", kind).out)["kind"] == kind
