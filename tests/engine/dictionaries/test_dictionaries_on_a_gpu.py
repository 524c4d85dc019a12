"""SAE training on a simulated GPU: no step waits for the device, and what it computes is what the CPU computes."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.dictionaries.learner import Learner
from interp_tui_engine.dictionaries.names import Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.schedule import Schedule
from interp_tui_engine.dictionaries.sparse import Pattern, offsets_of
from interp_tui_engine.dictionaries.stream import ShuffleBuffer
from interp_tui_engine.dictionaries.topk import fired
from interp_tui_engine.dictionaries.weights import tied
from interp_tui_engine.errors import RunFailed
from simulated_gpu import COUNTS, GpuTensor, per_step, simulated_gpu

WIDTH, LATENTS, BATCH = 12, 40, 64


def learner(architecture: str, on_gpu: bool) -> Learner:
    weights = tied(LATENTS, torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1))
    if on_gpu:
        weights = weights.map(lambda tensor: GpuTensor(tensor.detach().clone()))
    schedule = Schedule(100, 1e-3, 1, 10, 1)
    return Learner(
        build(architecture, LATENTS, Sparsity(k=4, l1=0.1, l0=1.0, bandwidth=0.5, threshold=0.2, prefixes=3)),
        weights,
        schedule,
        auxk_coefficient=0.0,
        k_aux=4,
        dead_after=10**9,
    )


def batch(step: int) -> torch.Tensor:
    return torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(100 + step))


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka", "gated", "jumprelu", "relu"])
def test_a_step_does_not_wait_and_learns_what_the_cpu_learns(architecture: str) -> None:
    here = learner(architecture, on_gpu=False)
    for step in range(6):
        here.step(batch(step))
    with simulated_gpu():
        there = learner(architecture, on_gpu=True)
        inputs = [GpuTensor(batch(step)) for step in range(6)]
        done = 0

        def train(steps: int) -> None:
            nonlocal done
            for step in range(done, done + steps):
                there.step(inputs[step])
            done += steps

        _, waits = per_step(train, 2, 4)
        assert not waits
        for name, tensor in there.weights.named().items():
            torch.testing.assert_close(tensor.detach().values, here.weights.named()[name].detach(), rtol=1e-4, atol=1e-5, msg=name)
        torch.testing.assert_close(there.take_running()[1].values, here.take_running()[1])


def test_dead_latents_are_asked_for_only_when_there_may_be_some() -> None:
    """And what is learnt is what is learnt by asking at every step."""

    def trained(on_gpu: bool, always: bool, dead_after: int) -> Learner:
        made = learner("topk", on_gpu)
        made._auxk, made._dead_after = 1 / 32, dead_after
        with torch.no_grad():
            made.weights.b_enc[:5] -= 10.0  # which do not fire
        for step in range(8):
            if always:
                made._longest = 10**9
            made.step(GpuTensor(batch(step)) if on_gpu else batch(step))
        return made

    for dead_after in (2 * BATCH, 5 * BATCH, 100 * BATCH):
        seldom, always = trained(False, False, dead_after), trained(False, True, dead_after)
        for name, tensor in seldom.weights.named().items():
            assert torch.equal(tensor, always.weights.named()[name])
    assert trained(False, False, 2 * BATCH).dead.any(), "some have been idle so long: the question is not asked in vain"
    with simulated_gpu() as counts:
        trained(True, False, 100 * BATCH)
        assert not [wait for wait in counts.waits if "auxk" in wait or "_local_scalar" in wait]


def test_counts_of_active_inputs_need_no_weighted_bincount() -> None:
    from interp_tui_engine.dictionaries.sparse import Codes

    pattern = Pattern(torch.tensor([0, 3, 3, 1]), torch.tensor([0, 2, 4]), 5)
    with simulated_gpu() as counts:
        there = Pattern(GpuTensor(pattern.latents), GpuTensor(pattern.offsets), 5)
        found = fired(Codes(GpuTensor(torch.tensor([1.0, 2.0, 0.5, 0.0])), there))
        assert "bincount" not in counts.launches and not counts.waits
    assert found.values.tolist() == fired(Codes(torch.tensor([1.0, 2.0, 0.5, 0.0]), pattern)).tolist() == [1, 0, 0, 2, 0]


def test_where_groups_begin_is_the_same_on_both() -> None:
    groups = torch.tensor([0, 0, 2, 2, 2, 5])
    with simulated_gpu():
        there = offsets_of(GpuTensor(groups), 7)
    assert there.values.tolist() == offsets_of(groups, 7).tolist() == [0, 2, 2, 5, 5, 5, 6, 6]
    assert not COUNTS.waits


def chunk(index: int) -> torch.Tensor:
    return torch.arange(index * 10.0, index * 10 + 10).unsqueeze(1)


@pytest.mark.parametrize("kept_after", [None, 5, 12])
def test_a_window_is_made_again_from_an_older_one_or_from_none(kept_after: int | None) -> None:
    through = ShuffleBuffer(chunk, capacity=40, seed=1)
    taken = [through.take(7) for _ in range(30)]
    first, window = ShuffleBuffer(chunk, capacity=40, seed=1), None
    for step in range(12):
        first.take(7)
        if step + 1 == kept_after:
            window = first.window()
    state = first.state()
    assert all(isinstance(value, int) for value in state.values()), "a state holds numbers only, however large the window is"
    again = ShuffleBuffer(chunk, capacity=40, seed=1)
    again.load_state(state, window)
    assert all(torch.equal(again.take(7), taken[step]) for step in range(12, 30))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RunFailed("out of memory with one row at a time")])
def test_a_window_that_leaves_the_model_no_memory_moves_to_the_host(error: Exception) -> None:
    hungry = True

    def read(index: int) -> torch.Tensor:
        nonlocal hungry
        if index == 5 and hungry:
            hungry = False
            raise error
        return GpuTensor(chunk(index))

    plain = ShuffleBuffer(chunk, capacity=40, seed=1)
    with simulated_gpu():
        buffer = ShuffleBuffer(read, capacity=40, seed=1)
        for _ in range(20):
            there = buffer.take(7)
            assert isinstance(there, GpuTensor) and torch.equal(there.values, plain.take(7))
        assert not hungry and not isinstance(buffer.rows, GpuTensor)
