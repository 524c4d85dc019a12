"""What tests of the command line share: calling it in this process, and runs whose worker is a script."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interp_tui.__main__ import main
from interp_tui_engine import supervisor

MANIFEST = """
kind = "llc"
name = "tiny"
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:prose"
[params]
lr = 1e-4
n_beta = 30.0
"""

HOSTILE = "\x1b]52;c;aGk=\x07[/b]\u202e\x9b31m"
"""Writes the clipboard, closes markup, turns the text round, and begins a colour, where it reaches a terminal as it is."""

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from interp_tui_engine import atomic
from interp_tui_engine.events import *
from interp_tui_engine.runfolder import EventLog, take_commands
folder = Path(sys.argv[1])
shard = folder / "shards" / "0"
log = EventLog(shard / "events.jsonl")
def end(state, **said):
    atomic.write_json(shard / "exit.json", {"state": state, "pid": os.getpid(), **said})
def wait_for_stop():
    while "stop" not in take_commands(shard / "control"):
        time.sleep(0.02)
"""

GOOD = """
log.append(RunStarted("llc", "tiny", "cpu"))
log.append(Phase("sampling"))
log.append(Progress(1.0, 2.0, "draws", 3.0))
log.append(ChainFailed(1, 31, "loss not finite"))
log.append(Metrics("headline", 0, {"llc_mean": 38.2, "llc_std": 0.9}))
log.append(Progress(2.0, 2.0, "draws", 0.0))
atomic.write_json(folder / "result.json", {"kind": "llc", "llc_mean": 38.2, "llc_per_chain": [38.0, 38.4]})
end("done", headline={"llc_mean": 38.2, "llc_std": 0.9}, digests={"loss": "ab" * 32})
"""


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    def is_safe(self) -> bool:
        """Nothing in it steers a terminal."""
        return all(char == "\n" or (char.isprintable() and char not in "\x9b\u202e") for char in self.out + self.err)


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Calls interp-tui with the arguments, in this process."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Answer(code, said.out, said.err)

    return call


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the script that runs in place of the worker."""

    def use(body: str) -> None:
        script = tmp_path / "worker_script.py"
        script.write_text(PRELUDE + textwrap.dedent(body))
        monkeypatch.setattr(supervisor, "worker_command", lambda folder, shard: [sys.executable, str(script), str(folder.path)])

    use(GOOD)
    return use


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """A manifest that is valid."""
    path = tmp_path / "m.toml"
    path.write_text(MANIFEST)
    return path
