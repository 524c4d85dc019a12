"""Patching on a simulated GPU: one device, the CPU's numbers, few waits, and halves where memory is short."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from interp_tui_engine.errors import RunFailed
from interp_tui_engine.patching.recovery import GridCell, Trace, TracePrompts, prepare
from interp_tui_engine.sites.answers import Answer, rank, set_logit
from interp_tui_engine.sites.branched_run import BranchedRun
from interp_tui_engine.sites.dissect import site_map_of
from references.tiny_families import some_ids, tiny_family
from simulated_gpu import COUNTS, simulated_gpu, to_gpu

LENGTH, FIRST = 7, 2


def trace_of(module: torch.nn.Module) -> Trace:
    clean, corrupt = some_ids(1, LENGTH, 1)[0].tolist(), some_ids(1, LENGTH, 2)[0].tolist()
    corrupt[:FIRST] = clean[:FIRST]
    prompts = TracePrompts(clean=tuple(clean), corrupt=tuple(corrupt), answer=Answer((5,), (9, 11)), first=FIRST)
    return prepare(site_map_of(module), prompts, ("resid_post",), "logit_diff", window=1, freeze=())


CELLS = [GridCell("resid_post", layer, position) for layer in range(3) for position in range(FIRST, LENGTH)]


def test_patches_have_the_cpus_numbers_and_wait_no_more_for_many_than_for_few() -> None:
    here = trace_of(tiny_family("llama")).patched(CELLS)
    with simulated_gpu():
        trace = trace_of(to_gpu(copy.deepcopy(tiny_family("llama"))))
        waits = []
        for cells in (CELLS[:10], CELLS):
            COUNTS.reset()
            there = trace.patched(cells)
            waits.append(sum(COUNTS.waits.values()))
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-5)
        # a few for each layer that is patched: which rows and positions an edit writes to
        assert waits[1] - waits[0] <= 6, COUNTS.waits


@pytest.mark.parametrize("fits", [4, 1, 0])
def test_patches_that_do_not_fit_are_run_in_halves(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    trace, run = trace_of(tiny_family("llama")), BranchedRun.run
    whole, tried = trace.patched(CELLS), []

    def hungry(self: BranchedRun, jobs: Sequence[Any], positions: Sequence[int], **options: Any) -> torch.Tensor:
        tried.append(len(jobs))
        if len(jobs) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, jobs, positions, **options)

    monkeypatch.setattr(BranchedRun, "run", hungry)
    if not fits:
        with pytest.raises(RunFailed, match="one row"):
            trace.patched(CELLS)
        return
    torch.testing.assert_close(trace.patched(CELLS), whole, rtol=1e-4, atol=1e-5)
    assert tried[0] == len(CELLS) and sum(jobs for jobs in tried if jobs <= fits) == len(CELLS)


def test_answers_are_scored_without_a_copy_to_the_device() -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    with simulated_gpu() as counts:
        from simulated_gpu import GpuTensor

        there = GpuTensor(logits)
        for tokens in ((4,), (4, 7, 30)):
            assert torch.equal(set_logit(there, tokens).values, set_logit(logits, tokens))
            assert torch.equal(
                set_logit(logits, tokens), logits[:, list(tokens)].logsumexp(-1) if len(tokens) > 1 else logits[:, tokens[0]]
            )
            assert torch.equal(rank(there, tokens).values, rank(logits, tokens))
        assert not counts.waits
