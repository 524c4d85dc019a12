"""A worker obeys a stop whatever it is in the middle of, and is left alone while it saves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from interp_tui_engine import worker
from interp_tui_engine.runfolder import RunFolder

PRELUDE = """
import sys, threading, time
from pathlib import Path
from interp_tui_engine.runtime.orders import Orders
from interp_tui_engine.runtime.context import Interrupted
Orders.PATIENCE, Orders.GRACE, Orders.LOOK = 0.3, 0.5, 0.02
here = Path(sys.argv[1])
orders = Orders(here / "control")
orders.watch(here / "exit.json", time.time())
def spin():
    while True: pass
def stop():
    (here / "control").mkdir(exist_ok=True)
    (here / "control" / "stop").touch()
"""


def ending(script: str, folder: Path) -> tuple[int, str]:
    """The exit code and the output of a process that works so."""
    program = PRELUDE + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("work", ["spin()", "time.sleep(1000)", "threading.Event().wait()"])
def test_work_that_never_asks_is_interrupted(work: str, tmp_path: Path) -> None:
    assert ending(f"stop()\ntry:\n    {work}\nexcept Interrupted:\n    print('interrupted')", tmp_path) == (0, "interrupted")


def test_work_that_swallows_the_interruption_is_ended(tmp_path: Path) -> None:
    code, _ = ending("stop()\nwhile True:\n    try: time.sleep(1)\n    except Exception: pass", tmp_path)
    assert code == 130 and json.loads((tmp_path / "exit.json").read_text())["state"] == "interrupted"


def test_saving_a_checkpoint_is_not_interrupted(tmp_path: Path) -> None:
    script = "stop()\nwhile orders.poll() != 'stop': pass\ntime.sleep(3)\norders.done()\nprint('saved')"
    assert ending(script, tmp_path) == (0, "saved")


def test_work_that_is_interrupted_may_save_what_it_has(tmp_path: Path) -> None:
    script = """
    stop()
    try:
        time.sleep(1000)
    except Interrupted:
        print(orders.poll())
        time.sleep(2)
        print("saved")
        orders.done()
    """
    assert ending(script, tmp_path) == (0, "stop\nsaved")


def test_a_long_step_does_not_put_off_the_stop(tmp_path: Path) -> None:
    script = """
    for _ in range(3):
        orders.poll()
        time.sleep(1.5)
    stop()
    try:
        time.sleep(1000)
    except Interrupted:
        print("interrupted")
        orders.done()
    """
    assert ending(script, tmp_path) == (0, "interrupted")


def test_orders_are_given_once_and_pause_holds(tmp_path: Path) -> None:
    script = """
    control = here / "control"
    control.mkdir()
    for name in ("pause", "checkpoint"):
        (control / name).touch()
        time.sleep(0.2)
    print(orders.poll(), orders.poll(), orders.poll())
    (control / "resume").touch()
    print(orders.poll())
    """
    assert ending(script, tmp_path) == (0, "checkpoint pause pause\ngo")


def test_a_worker_whose_supervisor_died_while_it_waited_leaves_what_others_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second worker of the shard may have ended the run by the time the lock is free: its exit record stays."""
    folder = RunFolder.create(tmp_path / "run")
    shard = folder.shard(0)
    shard.mkdir(parents=True)
    ended = '{"state": "done", "pid": 7}'
    (shard / "exit.json").write_text(ended)
    parents = iter([4242])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))
    assert worker.work(folder, 0) == worker.INTERRUPTED
    assert (shard / "exit.json").read_text() == ended and not (shard / "events.jsonl").exists()


def test_a_signal_of_somebody_else_asks_for_nothing(tmp_path: Path) -> None:
    script = """
    import os, signal
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(0.05)
    print(orders.poll())
    """
    assert ending(script, tmp_path) == (0, "go")


def test_who_has_computed_next_to_nothing_gets_more_time(tmp_path: Path) -> None:
    """A sleep of 1 s stands for an operation on a machine that is too busy to do it in GRACE."""
    script = """
    stop()
    def operation():
        try: time.sleep(1000)
        except Interrupted: time.sleep(1)
    operation()
    print(orders.poll())
    orders.done()
    """
    assert ending(script, tmp_path) == (0, "stop")


def test_who_computes_on_after_the_interruption_is_ended_at_once(tmp_path: Path) -> None:
    script = """
    Orders.STARVED = 10**6
    stop()
    while True:
        try: spin()
        except Interrupted: pass
    """
    assert ending(script, tmp_path)[0] == 130
