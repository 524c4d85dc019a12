"""A stop in the middle of a step: the step is given up, the ones before it are kept, and the run that goes on has the same numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sampler_models import SERIAL, THREADS, VMAP, config, make_store, problem, run, tiny_lm
from torch import nn

from interp_tui_engine.kind import Interrupted
from interp_tui_engine.samplers.chains import scheduler
from interp_tui_engine.samplers.chains.executor import Executor
from interp_tui_engine.samplers.chains.run import Command
from interp_tui_engine.samplers.chains.store import digests
from interp_tui_engine.samplers.noise import BLOCK
from interp_tui_engine.samplers.target import parameters
from interp_tui_engine.samplers.target.problem import ModuleTarget

C = config(num_chains=2, num_draws=8)


def disturbed(look: Callable[[int], None]) -> ModuleTarget:
    """A target that calls `look` with the number of the gradient that it is in."""
    taken, lock = [0], threading.Lock()

    def count(*_: object) -> None:
        if torch.is_grad_enabled():
            with lock:
                taken[0] += 1
                number = taken[0]
            look(number)

    model = tiny_lm()
    model.mix.register_forward_pre_hook(count)
    return problem(C, model)


def undisturbed(folder: Path, executor: Executor) -> dict[str, str]:
    p = disturbed(lambda number: None)
    run(p, C, make_store(folder / "whole", p, C), executor)
    return digests(folder / "whole")


@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP], ids=lambda e: e.mode)
def test_a_step_that_is_interrupted_costs_itself(tmp_path: Path, executor: Executor) -> None:
    def interrupt(number: int) -> None:
        if number == 7:
            raise Interrupted

    def again() -> int:
        p = disturbed(interrupt if not (tmp_path / "ck").exists() else lambda number: None)
        result = run(p, C, make_store(tmp_path / "s", p, C), executor, folder=tmp_path / "ck", poll=lambda: Command.GO)
        assert result.interrupted == (result.snapshot.steps_done < 2 * C.num_sgld_steps)
        return result.snapshot.steps_done

    assert 0 < again() < 2 * C.num_sgld_steps
    assert len(list((tmp_path / "ck").glob("chain-*.pt"))) == (1 if executor is VMAP else 2)
    assert again() == 2 * C.num_sgld_steps
    assert digests(tmp_path / "s") == undisturbed(tmp_path, executor)


def test_a_stop_does_not_wait_for_a_step_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_STEP_PATIENCE", 0.2)
    stuck, released = threading.Event(), threading.Event()

    def hang(number: int) -> None:
        if number == 7:
            stuck.set()
            released.wait()

    p = disturbed(hang)
    store = make_store(tmp_path / "s", p, C)
    result = run(p, C, store, THREADS, folder=tmp_path / "ck", poll=lambda: Command.STOP if stuck.is_set() else Command.GO)
    assert result.interrupted and len(list((tmp_path / "ck").glob("chain-*.pt"))) == 2
    released.set()  # its thread gives the step up now, and touches nothing
    p = disturbed(lambda number: None)
    run(p, C, make_store(tmp_path / "s", p, C), THREADS, folder=tmp_path / "ck")
    assert digests(tmp_path / "s") == undisturbed(tmp_path, THREADS)


def test_a_stop_does_not_wait_for_the_gradient_of_a_large_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also inside a backward pass it is asked, as each large parameter has its gradient."""
    monkeypatch.setattr(parameters, "_LONG_PASS", 1)

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = (nn.Parameter(torch.full((BLOCK,), 0.01)) for _ in range(2))

    asked: list[str] = []
    weights = parameters.ChainWeights(parameters.ParameterSpace(dict(Wide().named_parameters()), None))

    def interrupt() -> None:
        asked.append("asked")
        raise Interrupted

    weights.call_while_differentiating(interrupt)
    with pytest.raises(Interrupted):
        (weights.leaves["last"] * torch.tanh(weights.leaves["first"])).sum().backward()
    assert asked == ["asked"]
    assert (weights.leaves["first"].grad is None) != (weights.leaves["last"].grad is None)


def test_an_ordinary_stop_still_ends_between_steps(tmp_path: Path) -> None:
    p = problem(C)
    result = run(p, C, make_store(tmp_path / "s", p, C), folder=tmp_path / "ck", poll=lambda: Command.STOP)
    assert result.interrupted and result.snapshot.steps_done >= 1
