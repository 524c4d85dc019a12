"""What a run's status strip says of where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from interp_tui.runs.runstate import RunState
from interp_tui.runs.strip_facts import badge_of, gpu_text, place, strip_facts
from interp_tui_engine.runfolder import Owner, RunFolder, Status

MakeRun = Callable[..., RunFolder]


def test_the_host_is_named_where_it_is_another_one() -> None:
    status = Status(state="running", device="cuda:0", owner=Owner.me())
    assert place(status) == "cuda:0"
    assert place(replace(status, owner=Owner("gpu-box-4", "b", 1, 1.0))) == "cuda:0 on gpu-box-4"
    assert place(replace(status, owner=Owner("gpu-box-4", "b", 1, 1.0), state="done")) == "cuda:0", "it runs nowhere any more"


def test_a_run_of_the_queue_says_that_it_waits_there(make_run: MakeRun) -> None:
    folder = make_run("next", state="queued")
    assert badge_of(folder.status()) == "waiting for the worker"
    folder.queued_path.touch()
    assert badge_of(folder.status()) == "waits in the queue; Q shows it"


def test_a_gpu_shows_how_busy_it_was_and_is_and_how_full() -> None:
    gpu = {"device": "cuda:0", "busy": [0, 50, 100, 87], "used": 61e9, "total": 150e9, "peak": 70e9}
    assert gpu_text(gpu, ascii=False) == "cuda:0 ▁▅█▇ 87 % 61 GB of 150 GB"
    assert gpu_text(gpu, ascii=True).isascii()
    assert gpu_text({"device": "cuda:1", "busy": [None, "x"], "used": "?"}, ascii=False) == "cuda:1"
    facts = strip_facts(RunState(), Status(state="running", device="cuda:0", updated=1.0, gpus=(gpu,)), 1.0, ascii=False)
    assert any("87 %" in part for part in facts.parts)
    over = strip_facts(RunState(), Status(state="done", device="cuda:0", updated=1.0, gpus=(gpu,)), 1.0, ascii=False)
    assert not any("87 %" in part for part in over.parts), "it uses none any more"
