"""Work in steps keeps the steps before one that a stop cut short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interp_tui_engine import manifest
from interp_tui_engine.kind import Context, Interrupted
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.steps import Numbers, Steps

REQUEST = 'kind = "logit_lens"\n[model]\nsource = "builtin:tiny"\n[params]\nprompt = "x"\n'


def test_the_steps_before_an_interruption_are_not_done_again(tmp_path: Path) -> None:
    context = Context(manifest.parse(REQUEST), RunFolder(tmp_path), 0, lambda: orders[-1])  # type: ignore[arg-type, return-value]
    orders, done = ["go"], list[int]()

    def do(step: int) -> Numbers:
        if step == 3 and orders == ["go"]:
            orders.append("stop")
            raise Interrupted
        done.append(step)
        return np.array([step], np.float32)

    def steps() -> Steps[int]:
        return Steps(context, range(5), unit="steps", size=lambda step: 1)

    with pytest.raises(Interrupted):
        list(steps().run(do, lambda index, step, numbers: []))
    orders.append("go")
    again = steps()
    list(again.run(do, lambda index, step, numbers: []))
    assert done == [0, 1, 2, 3, 4] and [int(numbers[0]) for numbers in again.done] == done


def test_steps_that_are_cut_otherwise_are_done_anew(tmp_path: Path) -> None:
    """As where a device had less memory free when the run began than it has now."""
    context = Context(manifest.parse(REQUEST), RunFolder(tmp_path), 0, lambda: "go")
    done: list[int] = []

    def run(steps: list[range]) -> list[float]:
        def do(step: range) -> Numbers:
            done.append(len(step))
            return np.array(step, np.float32)

        work = Steps(context, steps, unit="rows", size=len)
        list(work.run(do, lambda index, step, numbers: []))
        return np.concatenate(work.done).tolist()

    assert run([range(3), range(3, 6)]) == run([range(2), range(2, 4), range(4, 6)]) == list(range(6))
    assert run([range(2), range(2, 4), range(4, 6)]) == list(range(6)) and done == [3, 3, 2, 2, 2]
