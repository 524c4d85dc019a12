"""`restrict` on the command line: a tree, JSON, and errors in words. The process that knows the model is replaced."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from cli_tools import Cli, cli

__all__ = ["cli"]
ANSWER = {
    "selected": 24,
    "total": 100,
    "parameters": {"layers.0.q.weight": [8, 32], "layers.0.o.weight": [16, 16]},
    "notes": ["two names, one matrix"],
    "remarks": ["layer 0: key-value head 0 moves"],
}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the process was asked, and what it answers."""
    asked = SimpleNamespace(command=[], stdout=json.dumps(ANSWER), returncode=0, stderr="")

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.command = command
        return asked

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_a_tree_with_counts(cli: Cli, engine: SimpleNamespace) -> None:
    answer = cli("restrict", "builtin:tiny", "l0h1", "l0 mlp", "--revision", "step-50")
    assert engine.command[-4:] == ["builtin:tiny", "step-50", "l0h1", "l0 mlp"]
    assert answer.code == 0 and "2 parameters  24 of 100  24 %" in answer.out and "q.weight  8 of 32  25 %" in answer.out
    assert "o.weight  16 of 16  all" in answer.out and "two names, one matrix" in answer.err
    assert answer.out.splitlines()[-1] == "layer 0: key-value head 0 moves"


def test_json_and_plain(cli: Cli, engine: SimpleNamespace) -> None:
    assert json.loads(cli("restrict", "builtin:tiny", "l0h1", "--json").out) == ANSWER
    assert cli("restrict", "builtin:tiny", "--plain").out.splitlines()[-1] == "24 of 100"
    assert engine.command[-1] == "full"


def test_errors_are_the_engines_own_words(cli: Cli, engine: SimpleNamespace) -> None:
    engine.stdout, engine.returncode = json.dumps({"error": "there is no layer 9", "hint": "layers 0 to 3"}), 2
    answer = cli("restrict", "builtin:tiny", "l9")
    assert answer.code == 2 and "there is no layer 9" in answer.err and "layers 0 to 3" in answer.err
    engine.stdout, engine.returncode, engine.stderr = "", -9, "Traceback\nMemoryError"
    answer = cli("restrict", "builtin:tiny", "l9")
    assert answer.code == 1 and "MemoryError" in answer.err and "Traceback" not in answer.err
