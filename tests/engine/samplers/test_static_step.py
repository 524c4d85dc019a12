"""Steps that need nothing of the host: the numbers of those that do, one read-back for many, and a recording that plays as they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sampler_models import STACKED, config, llama, run, token_rows
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from interp_tui_engine.models.single_sequences import expect_single_sequences
from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains import device_chains
from interp_tui_engine.samplers.chains.device_chains import DeviceChains, stacked_lane
from interp_tui_engine.samplers.chains.graphs import WARM_UP, Played
from interp_tui_engine.samplers.chains.microbatch import Microbatch
from interp_tui_engine.samplers.chains.record import ChainRecord
from interp_tui_engine.samplers.chains.run import Command
from interp_tui_engine.samplers.chains.stacked_chains import StackedChains
from interp_tui_engine.samplers.chains.static_step import RING
from interp_tui_engine.samplers.philox import PhiloxSource, StackedPhilox
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import ModuleTarget
from simulated_gpu import Counts, simulated_gpu, to_gpu

PHILOX = replace(STACKED, noise="philox")


def target(model: torch.nn.Module | None = None) -> ModuleTarget:
    rows = token_rows()
    return ModuleTarget(llama() if model is None else model, rows, {"o": (rows, 2), "p": (rows[:8], 1)}, 4)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    from transformers import masking_utils

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", masking_utils.find_packed_sequence_indices)
    expect_single_sequences()
    with simulated_gpu() as counts:
        yield counts


def lane(problem: ModuleTarget, how: SamplerConfig, noise: Any = "philox", *, by_step: bool = False, warn: Any = print) -> Any:
    records = [ChainRecord(chain, how, {}, None) for chain in range(how.num_chains)]
    order, pieces = BatchOrder(problem.rows, how), Microbatch(how.batch_size, warn)
    made = StackedChains if by_step else stacked_lane
    return made(problem, how, records, order, pieces, "stacked", 4, noise)


def to_the_end(chains: Any, ahead: int | None = None) -> Any:
    while not chains.done:
        if ahead is not None:
            chains.ahead = ahead
        chains.step()
    return chains


@pytest.mark.parametrize("noise", ["torch", "philox"])
@pytest.mark.parametrize(
    "settings",
    [
        {"num_burnin_steps": 3, "num_steps_bw_draws": 2},
        {"match_sampling_input_ids_across_chains": False, "sampling_method": "sgnht"},
        {"gradient_accumulation_steps": 2, "init_noise": 0.01, "sampling_method": "rmsprop_sgld", "bounding_box_size": 0.05},
    ],
    ids=["every second step", "own rows", "two micro-batches"],
)
def test_numbers_are_those_of_steps_that_the_host_sees_each(settings: dict[str, object], noise: str) -> None:
    problem, how = target(), config(num_chains=3, num_draws=20, **settings)
    want = to_the_end(lane(problem, how, noise, by_step=True))
    for ahead in (1, 7, RING):
        ours = to_the_end(lane(problem, how, noise), ahead)
        assert isinstance(ours, DeviceChains)
        for mine, other in zip(ours.records, want.records, strict=True):
            assert np.array_equal(mine.trace, other.trace) and mine.now == other.now
        states = zip(ours.state(), want.state(), strict=True)
        assert all(torch.equal(mine[key], other[key]) for mine, other in states for key in mine if key.startswith(("weights", "vector")))


def test_a_burst_of_steps_waits_for_the_device_once(gpu: Counts) -> None:
    chains = lane(target(to_gpu(llama())), config(num_draws=200))
    chains.ahead = RING
    chains.step()
    gpu.reset()
    chains.ahead = RING
    chains.step()
    assert chains.records[0].now.step == 2 * RING
    assert sum(gpu.waits.values()) == 1 and "device_chains.py" in next(iter(gpu.waits)), gpu.waits


class Recorded(TorchDispatchMode):
    """Records operations with the very tensors they were given, and plays them: what a CUDA graph does, on any device.

    Whatever the host took from a tensor while it was recorded would be played as it was then. Reading one at all is refused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim"), name
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.calls.append((func, args, kwargs or {}, result))
        return result

    def play(self) -> None:
        with torch._C._AutoDispatchBelowAutograd():  # where they were recorded
            for func, args, kwargs, result in self.calls:
                again = func(*args, **kwargs)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old is not new and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def recorder_on(static_of: Callable[[], Any]) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Records a step, and undoes what it did meanwhile: a graph's kernels do not run while they are recorded."""

    def record(step: Callable[[], None]) -> Callable[[], None]:
        static = static_of()
        buffers = [
            static.flat,
            static.gradient,
            static.scratch,
            static.number,
            static.batch,
            static.slot,
            static.ring,
            *static.vectors.values(),
        ]
        before = [buffer.clone() for buffer in buffers]
        recorded = Recorded()
        with recorded:
            step()
        for buffer, values in zip(buffers, before, strict=True):
            buffer.copy_(values)
        return recorded.play

    return record


@pytest.mark.parametrize(
    "settings",
    [{"num_burnin_steps": 3, "num_steps_bw_draws": 2}, {"match_sampling_input_ids_across_chains": False, "sampling_method": "sgnht"}],
)
def test_a_recorded_step_plays_to_the_bit(monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]) -> None:
    problem, how = target(), config(num_chains=4, num_draws=20, **settings)
    want = to_the_end(lane(problem, how), RING)
    made: list[Any] = []
    monkeypatch.setattr(device_chains, "cuda_recorder", lambda device: recorder_on(lambda: made[0]._static))
    made.append(lane(problem, how))
    ours = to_the_end(made[0], RING)
    assert ours._drawing.recorded and ours._plain.recorded == ("num_burnin_steps" in settings)
    for mine, other in zip(ours.records, want.records, strict=True):
        assert np.array_equal(mine.trace, other.trace) and mine.now == other.now
    assert torch.equal(ours._static.flat, want._static.flat)


def test_noise_of_the_hosts_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_chains, "cuda_recorder", lambda device: pytest.fail("torch's noise is seeded by the host"))
    to_the_end(lane(target(), config(num_draws=3), "torch"))


def test_where_recording_fails_steps_go_on_and_say_why_once() -> None:
    said: list[str] = []
    counted = []

    def refuse(step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with …")

    played = Played(lambda: counted.append(1), refuse, said.append)
    for _ in range(WARM_UP + 3):
        played()
    assert len(counted) == WARM_UP + 3 and not played.recorded
    assert len(said) == 1 and said[0].endswith("could not record one: CUDA error: operation not permitted when stream is capturing")


def test_a_step_is_recorded_after_its_warm_up_and_then_only_played() -> None:
    did: list[str] = []

    def record(step: Callable[[], None]) -> Callable[[], None]:
        did.append("record")
        return lambda: did.append("play")

    played = Played(lambda: did.append("step"), record, print)
    for _ in range(WARM_UP + 2):
        played()
    assert did == ["step"] * WARM_UP + ["record", "play", "play"]


def test_a_chain_that_goes_wrong_is_failed_at_its_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, how = target(), config(num_chains=4, num_draws=30)
    fill = StackedPhilox.fill
    broken = {1: 9, 3: 2}

    def spoiled(self: StackedPhilox, out: Tensor, step: Tensor) -> None:
        fill(self, out, step)
        for slot, at in broken.items():
            if int(step) == at:
                out[slot] = torch.inf

    want = to_the_end(lane(problem, how), RING)
    monkeypatch.setattr(StackedPhilox, "fill", spoiled)
    ours = to_the_end(lane(problem, how), RING)
    assert [record.now.failed_step for record in ours.records] == [None, 9, None, 2]
    assert all(np.array_equal(ours.records[i].trace, want.records[i].trace) for i in (0, 2)) and np.isnan(ours.records[1].trace).all()
    assert torch.isfinite(ours._static.flat).all()


def test_memory_that_runs_out_leaves_whole_steps_and_halves_from_there_on(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, how, said = target(), config(num_chains=4, num_draws=20), []
    want = to_the_end(lane(problem, how), RING)
    assert problem.stacked is not None
    gradient, calls = problem.stacked.gradient, []

    def hungry(flat: Tensor, into: Tensor, ids: Tensor, total: int, keep: int) -> Tensor:
        calls.append(ids.shape[-2])
        if len(calls) > 5 and ids.shape[-2] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradient(flat, into, ids, total, keep)

    monkeypatch.setattr(problem.stacked, "gradient", hungry)
    ours = to_the_end(lane(problem, how, warn=said.append), 8)
    assert set(calls[7:]) == {2} and len(said) == 1 and "2 parts" in said[0]
    ours._host.steady, ours.abandon = False, True
    assert not ours.steady and ours._host.abandon, "a stop reaches what steps in its place, in the middle of a step too"
    for mine, other in zip(ours.records, want.records, strict=True):
        np.testing.assert_allclose(mine.trace, other.trace, rtol=1e-5)


def test_a_run_stopped_between_bursts_goes_on_to_the_bit(tmp_path: Path) -> None:
    problem, how = target(), config(num_chains=4, num_draws=150)
    whole = run(problem, how, executor=PHILOX).snapshot.trace
    stopped = run(problem, how, executor=PHILOX, folder=tmp_path, poll=lambda: Command.STOP)
    assert stopped.interrupted and 0 < stopped.snapshot.chains[0].step < 150
    assert np.array_equal(run(problem, how, executor=PHILOX, folder=tmp_path).snapshot.trace, whole)


@pytest.mark.parametrize("settings", [{"save_metrics": True}, {"acceptance_every": 2}])
def test_what_needs_the_host_steps_with_it(settings: dict[str, object]) -> None:
    assert isinstance(lane(target(), config(**settings)), StackedChains)


def test_rows_that_a_device_cannot_hold_stay_with_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_tui_engine.samplers.chains.static_step.MOST_ROWS_BYTES", 1000)
    assert isinstance(lane(target(), config()), StackedChains)


def test_noise_of_a_stack_is_that_of_its_chains() -> None:
    sources = [PhiloxSource(7, chain, [0], "step") for chain in (3, 4, 9)]
    for count, step in ((5, 0), (70_001, 2**32 - 1)):
        out = torch.empty(3, count)
        StackedPhilox(sources, torch.device("cpu")).fill(out, torch.tensor([step]))
        for row, source in zip(out, sources, strict=True):
            torch.testing.assert_close(row, source.fill(torch.empty(count), step, 0), rtol=2e-6, atol=1e-6)
