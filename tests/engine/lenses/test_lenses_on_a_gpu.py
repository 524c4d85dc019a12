"""Lenses on a simulated GPU: one device, the CPU's numbers, and a step of a fit that waits once however many layers there are."""

from __future__ import annotations

import copy

import pytest
import torch

from interp_tui_engine.lenses import logit_lens, tuned_lens
from interp_tui_engine.models import halving
from interp_tui_engine.sites.dissect import site_map_of
from references.tiny_families import some_ids, tiny_family
from simulated_gpu import COUNTS, GpuTensor, simulated_gpu, to_gpu

ANSWERS = [[7], [7, 9], [3], [3]]


def test_a_reading_has_the_cpus_numbers() -> None:
    module, ids = tiny_family("llama"), some_ids(1, 4)
    here = site_map_of(module)
    stream = logit_lens.streams(here, ids)
    want = logit_lens.read(here, stream[0], stream[-1], ANSWERS, 3)
    with simulated_gpu():
        there = site_map_of(to_gpu(copy.deepcopy(module)))
        stream = logit_lens.streams(there, GpuTensor(ids))
        assert isinstance(stream, GpuTensor)
        for mine, other in zip(logit_lens.read(there, stream[0], stream[-1], ANSWERS, 3), want, strict=True):
            assert isinstance(mine, GpuTensor)
            torch.testing.assert_close(mine.values, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("free", [1 << 30, 1])
def test_a_fits_step_waits_once_and_learns_what_the_cpu_learns(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    module, ids = tiny_family("llama"), some_ids(2, 3)
    here = tuned_lens.Fitting(site_map_of(module), lr=1e-2, steps=4)
    want = [here.update(logit_lens.streams(here.site_map, ids)) for _ in range(2)]
    monkeypatch.setattr(halving, "free_memory", lambda device: free)
    with simulated_gpu():
        there = tuned_lens.Fitting(site_map_of(to_gpu(copy.deepcopy(module))), lr=1e-2, steps=4)
        stream, losses = logit_lens.streams(there.site_map, GpuTensor(ids)), []
        for _ in range(2):
            COUNTS.reset()
            losses.append(there.update(stream))
            assert sum(COUNTS.waits.values()) == 1, COUNTS.waits
    assert losses == [pytest.approx(values, rel=1e-3, abs=1e-6) for values in want]
