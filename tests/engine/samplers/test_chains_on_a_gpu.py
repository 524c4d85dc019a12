"""Steps on a simulated GPU: what they launch, what they wait for, how memory and modes are chosen there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from sampler_models import SERIAL, STACKED, VMAP, config, llama, run, token_rows

from interp_tui_engine.errors import UserError, out_of_memory
from interp_tui_engine.models import device as devices
from interp_tui_engine.models.single_sequences import expect_single_sequences
from interp_tui_engine.samplers.chains import executor as executor_module
from interp_tui_engine.samplers.chains.executor import Executor, choose_executor
from interp_tui_engine.samplers.chains.launches import Launches, launches_of
from interp_tui_engine.samplers.target import losses
from interp_tui_engine.samplers.target.problem import ModuleTarget
from simulated_gpu import GPU, Counts, GpuTensor, per_step, simulated_gpu, to_gpu

ONE_HEAD = {"model.layers.1.self_attn.q_proj.weight": (torch.arange(16) < 4).float()[:, None].expand(16, 16)}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    from transformers import masking_utils

    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", masking_utils.find_packed_sequence_indices)
    expect_single_sequences()
    with simulated_gpu() as counts:
        yield counts


def target(masks: dict[str, torch.Tensor] | None = None, **options: object) -> ModuleTarget:
    rows = token_rows()
    here = None if masks is None else {name: GpuTensor(mask) for name, mask in masks.items()}
    return ModuleTarget(to_gpu(llama()), rows, {"o": (rows, 1)}, 4, masks=here, **options)  # type: ignore[arg-type]


def test_losses_take_one_pass_however_many_tokens_there_are(gpu: Counts) -> None:
    counted, vocabulary = [], 5_000
    for tokens in (64, 256):  # 1 MiB of logits is 52 tokens here
        hidden, weight = (GpuTensor(torch.randn(n, 8, generator=torch.Generator().manual_seed(n))) for n in (tokens, vocabulary))
        targets = GpuTensor(torch.arange(tokens))
        gpu.reset()
        found = losses.linear_cross_entropy(hidden.requires_grad_(), weight.requires_grad_(), None, targets, None, 1 << 28)
        found.sum().backward()
        plain = losses.cross_entropy(hidden.detach() @ weight.detach().T, targets)
        counted.append(dict(gpu.launches))
        on_the_cpu = losses.linear_cross_entropy(hidden.values, weight.values, None, targets.values, None, 1 << 28)
        assert torch.equal(found.detach().values, on_the_cpu.detach()), "a pass over all rows has the bits of passes over some"
        torch.testing.assert_close(plain.values, on_the_cpu.detach())
    assert counted[0] == counted[1] and not gpu.waits


@pytest.mark.parametrize("masks", [None, ONE_HEAD], ids=["all weights", "one head"])
@pytest.mark.parametrize("executor", [replace(SERIAL, intra_threads=4), VMAP], ids=lambda e: e.mode)
def test_a_step_waits_for_the_device_once(gpu: Counts, executor: Executor, masks: dict[str, torch.Tensor] | None) -> None:
    problem = target(masks)
    chains = executor.width
    # All rows of an epoch are seen before the steps that are counted: losses at w0 then are known, and what lies below a layer from before.
    run(problem, config(num_draws=10, num_chains=chains), executor=executor, report_every=1e9)
    launches, waits = per_step(
        lambda steps: run(problem, config(num_draws=steps, num_chains=chains), executor=executor, report_every=1e9), 10, 12
    )
    assert list(waits) == [next(place for place in waits if "models/host_copies.py" in place)] and set(waits.values()) == {1.0}
    assert sum(launches.values()) > 100


def test_chains_on_a_gpu_have_the_numbers_of_those_on_the_cpu(gpu: Counts) -> None:
    rows, settings = token_rows(), config(num_chains=2, init_noise=0.01, save_metrics=True)
    for executor in (replace(SERIAL, noise="philox"), replace(VMAP, noise="philox"), replace(STACKED, noise="philox")):
        there = run(target(), settings, executor=executor).snapshot
        here = run(ModuleTarget(llama(), rows, {"o": (rows, 1)}, 4), settings, executor=executor).snapshot
        assert torch.allclose(torch.from_numpy(there.trace), torch.from_numpy(here.trace), rtol=1e-5)
        assert [c.step for c in there.chains] == [c.step for c in here.chains] and there.init_loss == pytest.approx(here.init_loss)


def test_a_chain_that_goes_wrong_on_a_gpu_fails_at_its_step(gpu: Counts) -> None:
    for executor in (SERIAL, VMAP, STACKED):
        failed = run(target(), config(lr=1e30, num_chains=2), executor=executor).snapshot.chains
        assert [chain.failed_step for chain in failed] in ([0, 0], [1, 1]) and all("not finite" in str(c.failed_reason) for c in failed)


def test_the_mode_is_chosen_by_what_both_ways_launch(gpu: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = target(), target(ONE_HEAD)
    counted = launches_of(whole, config(), 4)
    assert counted.vmapped is not None and counted.serial < counted.vmapped < 2 * counted.serial
    assert counted.stacked is not None and counted.stacked < counted.serial / 2
    for chains in (1, 4):
        chosen = choose_executor(whole, config(), range(chains), memory=1 << 30)
        assert (chosen.mode, chosen.width) == ("stacked", chains)
    assert launches_of(part, config(), 4).stacked is None
    assert len(part.space.slots) == 1 and choose_executor(part, config(), range(4), memory=1 << 30).mode == "vmap"
    monkeypatch.setattr(executor_module, "launches_of", lambda *_: Launches(100, 401))
    assert choose_executor(whole, config(), range(4), memory=1 << 30).mode == "serial"
    assert choose_executor(whole, config(), range(1), memory=1 << 30).mode == "serial"


def test_an_executor_that_also_samples_parts_of_the_weights_is_not_the_stacked_one(gpu: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "launches_of", lambda *_: Launches(700, 800, 400))
    settings = config(num_chains=4)
    assert choose_executor(target(), settings, range(4), memory=1 << 33).mode == "stacked"
    assert choose_executor(target(), settings, range(4), memory=1 << 33, parts=True).mode == "vmap"
    with pytest.raises(UserError, match="parts of them"):
        choose_executor(target(), settings, range(4), "stacked", parts=True)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no"), NotImplementedError("no batching rule"), RuntimeError("vmap: data-dependent")]
)
def test_auto_never_stacks_what_cannot_be_stacked(gpu: Counts, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise error

    problem = target()
    monkeypatch.setattr(problem, "functional", refuse)
    monkeypatch.setattr(problem.stacked, "gradient", refuse)
    chosen = choose_executor(problem, config(), range(4), memory=1 << 30)
    assert chosen.mode == "serial"
    assert all(chain.healthy for chain in run(problem, config(num_draws=2), executor=chosen).snapshot.chains)


def test_chains_in_bfloat16_with_a_restriction_are_stacked_only_if_that_works(gpu: Counts) -> None:
    rows = token_rows()
    problem = ModuleTarget(to_gpu(llama().to(torch.bfloat16)), rows, {}, 4, masks={n: GpuTensor(m) for n, m in ONE_HEAD.items()})
    chosen = choose_executor(problem, config(), range(4), memory=1 << 30)
    assert all(chain.healthy for chain in run(problem, config(num_draws=2), executor=chosen).snapshot.chains)


def test_memory_for_chains_is_that_of_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 << 20)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 << 20)
    assert devices.free_memory(torch.device("cuda:1")) == (3 << 30) + (4 << 20)
    asked = []
    monkeypatch.setattr(executor_module, "free_memory", lambda device: asked.append(device) or 1 << 10)  # type: ignore[func-returns-value]
    with simulated_gpu():
        assert choose_executor(target(), config(), range(4)).mode == "serial", "four chains do not fit in a kilobyte"
    assert asked == [GPU]


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("memory"), False),
    ],
)
def test_what_back_ends_call_an_allocation_that_failed(error: Exception, is_one: bool) -> None:
    assert out_of_memory(error) is is_one


@pytest.mark.parametrize("executor", [SERIAL, VMAP], ids=lambda e: e.mode)
def test_cublas_without_memory_cuts_the_micro_batch(gpu: Counts, monkeypatch: pytest.MonkeyPatch, executor: Executor) -> None:
    problem, said = target(), []
    batch = problem.batch

    def hungry(rows: torch.Tensor) -> torch.Tensor:
        if rows.shape[0] > 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return batch(rows)

    monkeypatch.setattr(problem, "batch", hungry)
    cut = run(problem, config(num_chains=2, num_draws=2), executor=executor, warn=said.append).snapshot
    whole = run(target(), config(num_chains=2, num_draws=2), executor=executor).snapshot
    assert torch.allclose(torch.from_numpy(cut.trace), torch.from_numpy(whole.trace), rtol=1e-5) and "2 parts" in said[0]
