"""What commands write with --json has the types that `schema --json-output` prints: no key more, no key less."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import MANIFEST, Cli, cli, request_file, worker
from pydantic import ValidationError

from interp_tui import cli as program
from interp_tui.commands.json_outputs import OUTPUTS, adapter
from interp_tui_engine.events import (
    ArrayWritten,
    Artifact,
    ChainFailed,
    Checkpoint,
    Metrics,
    Phase,
    Progress,
    RunFinished,
    RunStarted,
    Stamped,
    Warned,
    to_line,
    type_of,
)
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli", "request_file", "worker"]
MakeRun = Callable[..., RunFolder]


def check(command: str, text: str) -> Any:
    """The value in a command's output, held to its type."""
    value = json.loads(text)
    adapter(command).validate_json(text)
    return value


def two_runs(make_run: MakeRun) -> None:
    bar = {"uncertainty": {"llc_mean": {"std_error": 0.9, "over": "4 chains"}}}
    for name, mean in (("first", 38.2), ("second", 40.0)):
        make_run(
            name, result={"kind": "llc", "llc_mean": mean, **bar}, headline={"llc_mean": mean, **bar}, events=[RunStarted("llc", name)]
        )
    make_run("third", state="failed", exit={"reason": "no model", "code": 1})


def test_what_reads_runs(make_run: MakeRun, cli: Cli) -> None:
    two_runs(make_run)
    assert len(check("list", cli("list", "--json").out)) == 3
    assert check("show", cli("show", "first", "--json").out)["status"]["state"] == "done"
    assert check("show", cli("show", "third", "--json").out)["result"] is None
    assert "llc_mean" in check("compare", cli("compare", "first", "second", "--json").out)["result"]
    assert check("gc", cli("gc", "--json").out)["freed"] is None
    assert check("gc", cli("gc", "--prune", "--json").out)["freed"] in (0, None)
    assert check("locate", cli("locate", "--json").out)["runs"]


def test_what_looks_at_the_machine_and_at_manifests(cli: Cli, request_file: Path) -> None:
    check("doctor", cli("doctor", "--json").out)
    sizes = ("--model-params", "1T", "--tokens", "1B", "--d-model", "16384")
    assert check("plan", cli("plan", *sizes, "--from-env", "--json").out)["machine"]
    assert check("plan", cli("plan", request_file, "--json").out)["kind"] == "llc"
    assert check("validate", cli("validate", request_file, "--json").out)["ok"] is True
    assert check("validate", cli("validate", request_file, "--resolved", "--json").out)["resolved"]["kind"] == "llc"
    request_file.write_text(MANIFEST.replace("n_beta", "nbeta"))
    broken = cli("validate", request_file, "--json")
    assert broken.code == 2 and check("validate", broken.out)["problems"][0]["line"]


def test_what_restricts(cli: Cli) -> None:
    found = check("restrict", cli("restrict", "builtin:tiny", "l0h1", "--json").out)
    assert 0 < found["selected"] < found["total"]


def test_what_follows_a_run(cli: Cli, worker: Callable[[str], None], request_file: Path, tmp_path: Path) -> None:
    answers = {
        "batch": cli("--batch", request_file, "--out", tmp_path / "run", "--json"),
        "attach": cli("attach", tmp_path / "run", "--json"),
        "replay": cli("replay", tmp_path / "run", "--check", "--json"),
    }
    answers["resume"] = cli("resume", tmp_path / "run", "--json")
    answers["error"] = cli("--batch", tmp_path / "nowhere.toml", "--json")
    answers["demo"] = cli("--batch", request_file, "--dry-run", "--json")  # demo is a batch of its own
    seen = set()
    for command, answer in answers.items():
        assert answer.out, command
        for line in answer.out.splitlines():
            seen.add(check(command, line)["type"])
    assert {"run_folder", "run_started", "metrics", "run_finished", "replay_check", "error", "estimate"} <= seen


def test_every_event_has_its_line() -> None:
    told = [
        RunStarted("llc", "tiny", "cpu", True, {"a": 1}), Phase("p", "d"), Progress(1, 2, "x", None), Progress(float("nan"), 2, "x", 1.0),
        Metrics("s", 1, {"a": [1.0, None]}), ArrayWritten("p", ("a",), (1,), 1), Artifact("p", "t"), Checkpoint("p", 1),
        ChainFailed(1, 2, "c"), Warned("w"), RunFinished("done", 1.0, {"a": 1.0}, "r", "a"),
    ]  # fmt: skip
    assert {type(event) for event in told} == set(type_of.values())
    for event in told:
        for stamped in (Stamped(1, 2.0, event), Stamped(1, 2.0, event, 0, 3)):
            check("attach", to_line(stamped))


def test_another_key_is_seen() -> None:
    with pytest.raises(ValidationError, match="extra"):
        adapter("error").validate_json('{"v":1,"seq":0,"t":1.0,"type":"error","what":"w","hint":"h","exit_code":2,"more":1}')


def test_every_command_with_json_has_a_schema(cli: Cli) -> None:
    with_json = {
        command.name or ""
        for command in program.app.registered_commands
        if command.callback is not None and "json" in command.callback.__annotations__
    }
    assert with_json == set(OUTPUTS) - {"batch", "error"}
    for command in OUTPUTS:
        answer = cli("schema", "--json-output", command)
        assert answer.code == 0 and json.loads(answer.out)["$schema"].endswith("schema"), command
    refused = cli("schema", "--json-output", "lst")
    assert refused.code == 2 and "Did you mean 'list'?" in refused.err
    assert cli("schema", "llc", "--json-output", "list").code == 2
