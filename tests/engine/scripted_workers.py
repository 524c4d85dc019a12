"""Stands in for workers: scripts of a few lines that say and leave what a real one would, without torch.

A script begins with PRELUDE (and that of the test's module, where it has one), which gives it: `folder`, `shard` (its own folder), `me`
(its number), `share`, `asked` (the manifest's tables), `log`, and the functions below.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from interp_tui_engine import supervisor
from interp_tui_engine.events import RunStarted, Stamped
from interp_tui_engine.runfolder import EventTail, RunFolder

PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path
import tomli
from interp_tui_engine import atomic, shards
from interp_tui_engine.events import *
from interp_tui_engine.runfolder import EventLog, RunFolder, take_commands
from interp_tui_engine.status import task_here
folder, me = Path(sys.argv[1]), int(sys.argv[2])
shard = folder / "shards" / str(me)
log = EventLog(shard / "events.jsonl")
share = shards.read(RunFolder(folder), me)
asked = tomli.loads((folder / "manifest.toml").read_text())
def end(state, code=None, **said):
    place = {"pid": os.getpid(), "job": task_here(), "node": os.environ.get("SLURMD_NODENAME"), "seq": log.seq}
    atomic.write_json(shard / "exit.json", {"state": state, **place, **said})
    if code is not None:
        sys.exit(code)
def wait_for_stop():
    mother = os.getppid()
    while os.getppid() == mother:  # a real worker ends with its supervisor, too
        if "stop" in take_commands(shard / "control"):
            end("interrupted", 130, reason="stopped with a checkpoint")
        time.sleep(0.01)
def wait_for_term():
    signal.signal(signal.SIGTERM, lambda *_: end("interrupted", 130, reason="stopped with a checkpoint"))
    time.sleep(60)
def sample():
    log.append(RunStarted("llc", "shared", device="cpu"))
    log.append(Progress(len(share.work["chains"]) * 10, len(share.work["chains"]) * 10, "steps"))
    end("done", told={"chains": share.work["chains"]})
def join():
    log.append(RunStarted("llc", "shared", device="cpu"))
    told = [json.loads((folder / f"shards/{k}/exit.json").read_text())["told"] for k in range(share.of)]
    end("done", headline={"chains": sum((one["chains"] for one in told), [])}, digests={"loss": "ab"})
"""

SAMPLE_OR_JOIN = "join() if share.merges else sample()"

SHARED = """
kind = "llc"
name = "shared"
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:prose"
[params]
lr = 1e-4
n_beta = 30.0
num_chains = 4
[compute]
devices = ["cpu", "cpu"]
"""

Script = Callable[..., RunFolder]
"""(body, request, name) -> the run folder, made or the one there is, whose workers are PRELUDE and the body."""


def command(script: Path) -> Callable[[RunFolder, int], list[str]]:
    """What to put in the place of `supervisor.worker_command`."""
    return lambda folder, shard: [sys.executable, str(script), str(folder.path), str(shard)]


def supervised_apart(script: Path, folder: RunFolder) -> subprocess.Popen[bytes]:
    """A supervisor of the run in a process of its own, to be killed, whose workers are the script."""
    code = f"""
import sys
from pathlib import Path
from interp_tui_engine import supervisor
from interp_tui_engine.runfolder import RunFolder
supervisor.worker_command = lambda folder, shard: [sys.executable, {str(script)!r}, str(folder.path), str(shard)]
supervisor.supervise(RunFolder(Path({str(folder.path)!r})))
"""
    return subprocess.Popen([sys.executable, "-c", code], env=supervisor.environment())


def told(folder: RunFolder) -> list[Stamped]:
    """The run's log."""
    return list(EventTail(folder.events_path).read(seconds=5))


def starts(folder: RunFolder) -> list[int]:
    """Which shards' workers have begun, in order of number."""
    return sorted(stamped.shard for stamped in told(folder) if isinstance(stamped.event, RunStarted) and stamped.shard is not None)
