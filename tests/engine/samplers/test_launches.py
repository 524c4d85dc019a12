"""Launch budgets: how many operations a sampling step may ask of a GPU. A step of a small model takes as long as they take to launch.

The table stands in tests/bench/RESULTS.md, beside devinterp's count of the same step. A number here may fall; raising one needs a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from sampler_models import SERIAL, STACKED, VMAP, config, llama, run, token_rows

from interp_tui_engine.models.single_sequences import expect_single_sequences
from interp_tui_engine.samplers.chains.executor import Executor
from interp_tui_engine.samplers.target.problem import ModuleTarget
from simulated_gpu import Counts, per_step, simulated_gpu, to_gpu

LAYERS = 4
BUDGETS = {  # forward, backward, update, record and one observable, of a Llama of four layers
    ("serial", 1): 703,
    ("vmap", 4): 836,
    ("stacked", 1): 380,
    ("stacked", 4): 383,
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    from transformers import masking_utils

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", masking_utils.find_packed_sequence_indices)
    expect_single_sequences()
    with simulated_gpu() as counts:
        yield counts


@pytest.mark.parametrize("executor", [SERIAL, VMAP, replace(STACKED, width=1), STACKED], ids=lambda e: f"{e.mode} {e.width}")
def test_a_step_keeps_its_launch_budget(gpu: Counts, executor: Executor) -> None:
    rows = token_rows(vocabulary=64)
    problem = ModuleTarget(to_gpu(llama(LAYERS, vocabulary=64)), rows, {"o": (rows, 1)}, 4)
    chains = executor.width
    launches, waits = per_step(lambda n: run(problem, config(num_draws=n, num_chains=chains), executor=executor, report_every=1e9), 10, 12)
    assert sum(launches.values()) <= BUDGETS[executor.mode, executor.width], sorted(launches.items(), key=lambda item: -item[1])[:12]
    assert sum(waits.values()) <= 1.0


def test_an_update_of_many_parameters_costs_no_more_than_one_of_few(gpu: Counts) -> None:
    counted = []
    for layers in (1, 3):
        problem = ModuleTarget(to_gpu(llama(layers)), token_rows(), {}, 4)
        launches, _ = per_step(
            lambda n, p=problem: run(p, config(num_draws=n, num_chains=1), executor=replace(SERIAL), report_every=1e9), 10, 11
        )
        counted.append(launches["dot"] + launches["normal_"])
    assert counted[0] == counted[1] == 2.0, "one block of weights: one draw of noise, one norm"
    assert torch.is_grad_enabled()
