"""SKILL.md, which is shipped for agents: every command in it runs as it is written, and every name in it exists."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Cli, cli, worker

from interp_tui import cli as program
from interp_tui.commands.json_outputs import OUTPUTS, adapter
from interp_tui.commands.locate import places

__all__ = ["cli", "worker"]
SKILL = places()["skill for agents"]
TEXT = SKILL.read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The lines of its shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


def test_its_commands_run_in_their_order(cli: Cli, worker: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(commands()) == 13
    for arguments in commands():
        answer = cli(*arguments)
        assert answer.code in (0, *([1] if arguments[0] == "replay" else [])), (arguments, answer.err)
        if "--json" in arguments:
            name = "batch" if arguments[0] == "--batch" else arguments[0]
            lines = answer.out.splitlines() if name in ("batch", "replay", "validate") else [answer.out]
            for line in lines:
                adapter(name).validate_json(line)
    assert tomllib.loads((tmp_path / "m.toml").read_text())["kind"] == "logit_lens"
    assert json.loads((tmp_path / "runs" / "first" / "status.json").read_text())["state"] == "done"


def test_what_it_names_exists() -> None:
    named = set(re.findall(r"interp-tui ([a-z]+)", TEXT)) - {"for"}
    assert named <= set(program.command_names()) and {"mcp", "report", "stop", "resume", "attach"} <= named
    head = re.match(r"---\nname: (\S+)\ndescription: (.+)\n---\n", TEXT)
    assert head is not None and head[1] == "interp-tui" and len(head[2]) < 1024
    assert "error" in OUTPUTS and SKILL.parent.name == "interp_tui", "it lies in the package, so that wheels carry it"
