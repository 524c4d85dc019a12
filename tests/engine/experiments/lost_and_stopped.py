"""A split model's run as a worker does it, whole, and again with its other rank killed, then stopped, then resumed; what came of each.

    python -m lost_and_stopped FOLDER      prints a JSON object

A process of its own: in a test's, transformers may have been imported already for models on one device.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from interp_tui_engine import catalog, manifest, supervisor
from interp_tui_engine.errors import RunFailed
from interp_tui_engine.kind import Order
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime import split_model
from interp_tui_engine.runtime.context import Context, Interrupted

LENS: dict[str, Any] = {
    "kind": "logit_lens",
    "name": "two",
    "model": {"device": "cpu", "parallel": {"tensor": 2}},
    "params": {"prompt": "The capital of France is", "answer": " Paris"},
}


def run(path: Path, poll: Callable[[], Order] = lambda: "go") -> catalog.Result:
    """The run in the folder that there is, or in a new one."""
    request, resumed = manifest.resolve(LENS), path.exists()
    folder = RunFolder(path) if resumed else supervisor.prepare(request, path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    running = split_model.run(catalog.get(request.kind), Context(request, folder, 0, poll, resumed))
    while True:
        try:
            next(running)
        except StopIteration as end:
            result: catalog.Result = end.value
            return result


def killing() -> Callable[[], Order]:
    """Orders to go on; at the second look the other rank is killed."""
    looks = iter(range(10**6))

    def poll() -> Order:
        if next(looks) == 1:
            (other,) = (child for child in psutil.Process().children() if "--rank" in child.cmdline())
            os.kill(other.pid, signal.SIGKILL)
        return "go"

    return poll


def stopping(looks: int) -> Callable[[], Order]:
    """Orders to go on, then, after so many, to stop."""
    left = iter(range(looks))
    return lambda: "stop" if next(left, None) is None else "go"


def main(place: Path) -> None:
    said: dict[str, Any] = {"whole": dict(run(place / "whole").digests)}
    said["left"] = [path.name for path in (place / "whole" / "shards" / "0").glob("rank*")]
    try:
        run(place / "again", killing())
    except RunFailed as error:
        said["killed"] = error.reason
    try:
        run(place / "again", stopping(2))
    except Interrupted:
        said["stopped"] = True
    said["resumed"] = dict(run(place / "again").digests)
    sys.stdout.write(f"{json.dumps(said)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
