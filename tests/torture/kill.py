"""A run killed at a random moment, or while it is prepared, and resumed has the numbers of one that never was: every kind, every victim."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .check import Check
from .requests import kinds, small
from .steps import killed_at

VICTIMS = ("worker", "supervisor", "both", "preparation")
QUICK = ("logit_lens",)
KILLS = 3
"""In one series, at moments spread over the length of a whole run."""


def checks(quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each kind and victim."""
    from interp_tui_engine import manifest, supervisor

    draw = random.Random(seed)
    for name in QUICK if quick else kinds():
        with tempfile.TemporaryDirectory() as place:
            request = manifest.resolve({**small(name), "compute": {"checkpoint_every": "0.2s"}})
            whole = supervisor.prepare(request, Path(place) / "whole")
            began = time.monotonic()
            status = supervisor.supervise(whole)
            length = time.monotonic() - began
            if status.state != "done":
                yield Check(f"{name}, whole", False, str(status.exit))
                continue
            numbers = _numbers(whole)
            for victim in VICTIMS[1:2] if quick else VICTIMS:
                yield _series(name, victim, request, Path(place) / victim, numbers, length, draw)


def _series(name: str, victim: str, request: Any, path: Path, numbers: Any, length: float, draw: random.Random) -> Check:
    from interp_tui_engine import supervisor
    from interp_tui_engine.runfolder import RunFolder, is_free

    if victim == "preparation":
        kills = 0
        while killed_at(kills, partial(supervisor.prepare, request, path.with_name(f"{path.name}-{kills}"))):
            kills += 1
        path = path.with_name(f"{path.name}-{draw.randrange(max(1, kills))}")
        folder = supervisor.prepare(request, path) if is_free(path) else RunFolder(path)
    else:
        folder = supervisor.prepare(request, path)
        kills = sum(_killed(folder, victim, draw.uniform(0.2, 0.95) * length) for _ in range(KILLS))
    if folder.status().state != "done":
        supervisor.supervise(folder)
    state, found = folder.status().state, _numbers(folder)
    equal = found == numbers
    note = f"{kills} kills" if equal else f"{state}: {_first_difference(numbers, found)}"
    return Check(f"{name}, {victim}", state == "done" and equal, note)


def _killed(folder: Any, victim: str, after: float) -> bool:
    """Start the run and kill the victim after a while; False where it ended before."""
    from interp_tui_engine import supervisor

    if folder.status().state == "done":
        return False
    command = [sys.executable, "-P", "-m", "interp_tui_engine.supervisor", str(folder.path)]
    process = subprocess.Popen(command, env=supervisor.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        worker = folder.status().worker_pid
        if victim != "worker":
            process.kill()
        if victim != "supervisor" and worker is not None:
            with contextlib.suppress(OSError):
                os.kill(worker, signal.SIGKILL)
        process.wait()
        return True


def _numbers(folder: Any) -> Any:
    """Digests of the arrays, and every number of the result but those of time."""
    from interp_tui_engine import untrusted

    recorded = (untrusted.table_or_none(folder.manifest_path) or {}).get("result", {})
    result = {key: value for key, value in (folder.result() or {}).items() if key not in TIMES}
    return {"sha256": recorded.get("sha256"), "result": _without_times(result)}


TIMES = ("seconds", "tokens_per_second", "name", "path", "folder")


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if key not in TIMES and not str(key).endswith("per_second")}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _first_difference(left: Any, right: Any, path: str = "") -> str:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {*left, *right}:
            if left.get(key) != right.get(key):
                return _first_difference(left.get(key), right.get(key), f"{path}.{key}")
    return f"{path} {str(left)[:60]} / {str(right)[:60]}"
