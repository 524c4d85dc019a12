"""A run whose model is split over two devices, as a worker does it: the other rank is a process that it starts, and that follows it.

Another file than the comparison of all kinds: a process can be in one group of ranks only.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from in_process import Poll, go, stop_after, to_its_end
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


def run_by_two(path: Path, poll: Poll = go) -> catalog.Result:
    """The run as a worker does it, in the folder that there is or in a new one."""
    request = manifest.resolve(LENS)
    folder = supervisor.prepare(request, path) if not path.exists() else RunFolder(path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    result, _ = to_its_end(split_model.run(catalog.get(request.kind), Context(request, folder, 0, poll, path.exists())))
    return result


def test_the_other_rank_follows_orders_and_a_kill_costs_only_steps(tmp_path: Path) -> None:
    undisturbed = run_by_two(tmp_path / "whole")
    assert not list((tmp_path / "whole" / "shards" / "0").glob("rank*")), "what the other rank wrote is forgotten"

    with pytest.raises(Interrupted):
        run_by_two(tmp_path / "stopped", stop_after(2))
    assert run_by_two(tmp_path / "stopped").digests == undisturbed.digests

    asked = iter(range(10**6))

    def kill_the_other() -> Order:
        if next(asked) == 1:
            (other,) = (child for child in psutil.Process().children() if "--rank" in child.cmdline())
            os.kill(other.pid, signal.SIGKILL)
        return "go"

    with pytest.raises(RunFailed, match="rank 1, which held a part of the model, was killed by SIGKILL"):
        run_by_two(tmp_path / "killed", kill_the_other)
    assert run_by_two(tmp_path / "killed").digests == undisturbed.digests
