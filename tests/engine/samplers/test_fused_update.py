"""A step's noise and update as one kernel, with the kernel in numpy (`references.fused_update`): what it computes, and what calls it.

Triton's own is held to the same bits by `make kernels`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sampler_models
import torch
from sampler_models import SERIAL, STACKED, config, llama, run, token_rows
from torch.utils._python_dispatch import TorchDispatchMode

from interp_tui_engine import manifest
from interp_tui_engine.experiments._sampling import run as sampling_run
from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains.chain import Chain
from interp_tui_engine.samplers.chains.device_chains import DeviceChains, stacked_lane
from interp_tui_engine.samplers.chains.executor import choose_executor
from interp_tui_engine.samplers.chains.microbatch import Microbatch
from interp_tui_engine.samplers.chains.record import ChainRecord
from interp_tui_engine.samplers.chains.stacked_chains import StackedChains
from interp_tui_engine.samplers.fused import available, update
from interp_tui_engine.samplers.fused.plan import METHODS, UpdatePlan
from interp_tui_engine.samplers.kernel import kernel_of
from interp_tui_engine.samplers.philox import PhiloxSource, StackedPhilox
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.parameters import ParameterSpace
from interp_tui_engine.samplers.target.problem import ModuleTarget
from references import fused_update as reference
from references import philox

F = np.float32
ALL = {"localization": 100.0, "llc_weight_decay": 1.0, "bounding_box_size": 0.02}
LLC = """
kind = "llc"
name = "x"
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:prose"
context = 8
[params]
lr = 1e-4
n_beta = 10.0
sampling_data = "train"
"""


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[UpdatePlan]:
    """The plans that were carried out."""
    plans: list[UpdatePlan] = []

    def launch(plan: UpdatePlan, gradients: torch.Tensor, step: torch.Tensor) -> None:
        plans.append(plan)
        reference.launch(plan, gradients, step)

    monkeypatch.setattr(update, "kernels", lambda: launch)
    return plans


def test_the_numpy_kernel_has_philoxs_words_and_numbers() -> None:
    k0, k1, last = philox.key_of(3, 1, "step")
    element, step = 4 * (1 << 33), 2**31 + 5
    quad = np.array([element // 4], dtype=np.uint64)
    words = reference.words([quad & reference.MASK, quad >> np.uint64(32), quad * 0 + step, quad * 0 + last], k1 << 32 | k0)
    assert tuple(int(word[0]) for word in words) == philox.words(((element // 4) & philox.MASK, element // 4 >> 32, step, last), (k0, k1))
    numbers = reference.normals(element, 64, step, k1 << 32 | k0, last)
    want = [philox.normal(3, 1, "step", step, element + i) for i in range(64)]
    np.testing.assert_allclose(numbers, want, rtol=2e-6, atol=2e-6)


def test_logarithm_sine_and_cosine_are_right_to_the_last_place() -> None:
    words = np.random.default_rng(0).integers(0, 2**32, 200_000).astype(F)
    u = np.concatenate([(words + F(0.5)) * F(2.0**-32), np.array([0.5 * 2.0**-32, 1.0, 1 - 2.0**-24], F)])
    exact = np.log(u.astype(np.float64))
    assert (np.abs(reference.log(u) - exact) <= np.spacing(np.abs(exact).astype(F))).all()
    angles = words * F(2 * math.pi * 2.0**-32)
    for values, want in zip(reference.cos_sin(angles), (np.cos(angles.astype(np.float64)), np.sin(angles.astype(np.float64))), strict=True):
        assert np.abs(values - want).max() < 2.0**-23  # a unit in the last place of 1


def space_of(masked: bool, **how: Any) -> ParameterSpace:
    draw = torch.Generator().manual_seed(0)
    shapes = {"small": (37, 3), "bias": (5,), "large": (300, 257), "wide": (70_001,)}
    given = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    masks = {"small": None, "bias": torch.tensor([1.0, 0, 1, 1, 0]), "large": (given["large"] > 0).float(), "wide": None}
    return ParameterSpace(given, masks if masked else None, **how)


def starts(space: ParameterSpace, how: SamplerConfig) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor, StackedPhilox]:
    """Two chains near w0, the sampler's vectors, a gradient and the noise."""
    draw = torch.Generator().manual_seed(1)
    mask = space.mask()
    still = 1.0 if mask is None else mask
    flat = space.anchor().repeat(2, 1)
    flat += 0.01 * torch.randn(flat.shape, generator=draw) * still
    gradient = torch.randn(flat.shape, generator=draw) * still
    state = kernel_of(how.sampling_method).init(flat, how)
    vectors = {name: value for name, value in vars(state).items() if name != "weights"}
    return flat, vectors, gradient, StackedPhilox([PhiloxSource(7, chain, space.starts, "step") for chain in (4, 5)], flat.device)


@pytest.mark.parametrize("settings", [{}, ALL], ids=["plain", "all terms"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_kernels_update_is_the_samplers(launches: list[UpdatePlan], method: str, masked: bool, settings: dict[str, float]) -> None:
    space, how = space_of(masked), SamplerConfig(lr=1e-3, n_beta=30.0, sampling_method=method, **settings)
    kernel = kernel_of(method)
    flat, vectors, gradient, noise = starts(space, how)
    mine = update.FusedUpdate(space, how, flat, vectors, noise, gradient=gradient)
    want, own, _, _ = starts(space, how)
    for step in (5, 6):
        mine.of_stack(torch.tensor([step]))
        scratch = torch.empty_like(want)
        noise.fill(scratch, torch.tensor([step]))
        kernel.step(kernel.State(want, **own), gradient, scratch, space.anchor(), space.mask(), how)
        if (couple := getattr(kernel, "couple", None)) is not None:
            couple(kernel.State(want, **own), space.numel, how)
    rounding = 4 * 2.0**-23  # of terms below 2, of which a few are summed at either step
    for slot in space.slots:
        here = slice(slot.start, slot.stop)
        assert torch.allclose(flat[:, here], want[:, here], rtol=2.0**-22, atol=rounding)
        for name, vector in vectors.items():
            assert torch.allclose(vector[:, here], own[name][:, here], rtol=1e-5, atol=2.0**-20 * float(own[name].abs().max()))
    assert torch.allclose(mine.norms[:, 0], gradient.double().norm(dim=1).float(), rtol=1e-6)
    assert torch.allclose(mine.norms[:, 1], (flat - space.anchor()).double().norm(dim=1).float(), rtol=1e-6)
    assert torch.allclose(mine.squares.sqrt(), mine.norms)


@pytest.mark.parametrize("method", METHODS)
def test_a_vector_cut_into_other_blocks_has_the_same_bits(launches: list[UpdatePlan], monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    how = SamplerConfig(lr=1e-3, n_beta=30.0, sampling_method=method, **ALL)
    runs = []
    for block in (1 << 16, 1 << 17, 1 << 13):
        space = cut_into(block)
        flat, vectors, gradient, noise = starts(space, how)
        mine = update.FusedUpdate(space, how, flat, vectors, noise, gradient=gradient)
        for step in range(2):
            mine.of_stack(torch.tensor([step]))
        runs.append([flat, *vectors.values(), mine.squares.clone()])
    assert len({plan.segments.shape[0] for plan in launches}) == 3, "the vector was cut in three ways"
    assert all(torch.equal(*pair) for other in runs[1:] for pair in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_chain_in_one_block_or_many_has_the_same_bits(launches: list[UpdatePlan], method: str) -> None:
    how, ended = config(num_chains=2, num_draws=3, sampling_method=method, init_noise=0.01), []
    for block in (1 << 16, 1 << 12):  # a tile of the kernel is 4,096 numbers: sums are taken tile by tile
        snapshot = run(sampler_models.cut_into(target(), block), how, executor=replace(PHILOX_SERIAL, update="kernel")).snapshot
        ended.append([snapshot.trace, *(chain.gradient_norm for chain in snapshot.chains), *(chain.distance for chain in snapshot.chains)])
    assert len({plan.segments.shape[0] for plan in launches}) == 2, "the vector was cut in two ways"
    assert all(np.array_equal(*pair) for pair in zip(*ended, strict=True))


def cut_into(block: int) -> ParameterSpace:
    """The same flat vector in blocks of another size."""
    space = space_of(True)
    masks = {"small": None, "bias": torch.tensor([1.0, 0, 1, 1, 0]), "wide": None, "large": (space.anchors()["large"] > 0).float()}
    cut: Callable[..., Any] = space._cut
    space.blocks = tuple(cut(block, {slot.name: masks[slot.name] for slot in space.slots}))
    return space


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_chain_takes_gradients_where_they_are(launches: list[UpdatePlan], dtype: torch.dtype) -> None:
    space, how = space_of(False, computes_in=dtype), SamplerConfig(lr=1e-3, n_beta=30.0, localization=10.0)
    noise = StackedPhilox([PhiloxSource(7, 0, space.starts, "step")], torch.device("cpu"))
    chains = []
    for fused in (True, False):
        weights = space.weights()
        for name, leaf in weights.leaves.items():
            if name != "wide":  # on which the loss does not depend
                made = torch.arange(leaf.numel() + 1, dtype=dtype)[1:].view(leaf.shape) / leaf.numel()  # where no 16 bytes begin
                leaf.grad = made if leaf.grad is None else leaf.grad.copy_(made)
        if fused:
            one = update.FusedUpdate(space, how, weights.flat[None], {}, noise, published=weights.published)
            one.of_chain(3, [gradient for _, gradient in weights.gradients_as_made()])
        else:
            kernel, source = kernel_of(how.sampling_method), PhiloxSource(7, 0, space.starts, "step")
            for block, gradient in weights.gradients():
                drawn = source.fill(torch.empty(block.stop - block.start), 3, block.index)
                here = weights.flat[block.start : block.stop]
                kernel.step(kernel.State(here), gradient, drawn, space.anchor_at(block), block.mask, how)
                weights.publish(block)
        chains.append(weights)
    mine, want = chains
    assert torch.allclose(mine.flat, want.flat, rtol=1e-6, atol=1e-7)
    for name, leaf in mine.leaves.items():
        assert torch.equal(leaf.flatten(), mine.flat[_slot(space, name)].to(dtype)), "the model computes with what was written"


def _slot(space: ParameterSpace, name: str) -> slice:
    slot = next(slot for slot in space.slots if slot.name == name)
    return slice(slot.start, slot.stop)


def test_numbers_that_are_none_are_seen_and_stay(launches: list[UpdatePlan]) -> None:
    space, how = space_of(False), SamplerConfig(lr=1e-3, n_beta=30.0, bounding_box_size=0.02)
    flat, vectors, gradient, noise = starts(space, how)
    gradient[1, 99] = math.nan
    mine = update.FusedUpdate(space, how, flat, vectors, noise, gradient=gradient)
    mine.of_stack(torch.tensor([0]))
    assert mine.norms.isfinite().tolist() == [[True, True], [False, False]], "the other chain is none the worse"
    assert flat.isfinite().all(1).tolist() == [True, False], "a box does not hide it"


PHILOX_STACK, PHILOX_SERIAL = replace(STACKED, noise="philox"), replace(SERIAL, noise="philox")


def target() -> ModuleTarget:
    rows = token_rows()
    return ModuleTarget(llama(), rows, {"o": (rows, 2)}, 4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("executor", [PHILOX_STACK, PHILOX_SERIAL, replace(PHILOX_STACK, mode="vmap")], ids=lambda e: e.mode)
def test_chains_by_the_kernel_are_those_by_operations(launches: list[UpdatePlan], executor: Any, method: str) -> None:
    how = config(num_chains=3, num_draws=6, sampling_method=method, init_noise=0.01, localization=10.0)
    want = run(target(), how, executor=executor).snapshot
    assert not launches
    mine = run(target(), how, executor=replace(executor, update="kernel")).snapshot
    assert launches
    np.testing.assert_allclose(mine.trace, want.trace, rtol=1e-4)
    for one, other in zip(mine.chains, want.chains, strict=True):
        assert one.step == other.step and one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)
        assert one.distance == pytest.approx(other.distance, rel=1e-3)


def test_steps_that_need_no_host_have_the_bits_of_those_that_do(launches: list[UpdatePlan]) -> None:
    problem, how = target(), config(num_chains=3, num_draws=8)
    traces = []
    for made in (DeviceChains, StackedChains):
        records = [ChainRecord(chain, how, {}, None) for chain in range(3)]
        order, pieces = BatchOrder(problem.rows, how), Microbatch(how.batch_size, print)
        build: Any = stacked_lane if made is DeviceChains else StackedChains
        chains = build(problem, how, records, order, pieces, "stacked", 4, "philox", "kernel")
        assert isinstance(chains, made)
        while not chains.done:
            chains.step()
        traces.append([record.trace for record in records])
    assert np.array_equal(*traces)


class _Counted(TorchDispatchMode):
    """Operations that are no views, as a GPU would launch them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("method", "most"), [("sgmcmc_sgld", 3), ("rmsprop_sgld", 3), ("sgnht", 4)])
def test_an_update_keeps_its_launch_budget(monkeypatch: pytest.MonkeyPatch, method: str, most: int) -> None:
    """Of a model of many parameters, one chain: the addresses' copy, the update and its sums; SGNHT's friction besides."""
    monkeypatch.setattr(update, "kernels", lambda: lambda plan, gradients, step: None)  # two launches
    how, rows = config(sampling_method=method), token_rows()
    problem = ModuleTarget(llama(), rows, {}, 4)
    record = ChainRecord(0, how, {}, None)
    chain = Chain(problem, how, record, BatchOrder(problem.rows, how), Microbatch(4, print), None, 1, "philox", "kernel")
    chain._gradient(0, 0)
    with _Counted() as counted:
        chain._update(0, True)
    copied = [name for name in counted.names if name not in ("lift_fresh", "_to_copy")]  # the table: made here, copied there
    assert 1 + 2 + len(copied) <= most, counted.names


def test_why_an_update_is_not_fused_is_said() -> None:
    problem, how = target(), config()
    assert choose_executor(problem, how, range(2), "serial", noise="philox").update == "operations"
    assert available.why_not(problem.space, how, "philox") == "there is no kernel for cpu"

    class OnCuda:
        device, part = torch.device("cuda"), ""

    space: Any = OnCuda()
    assert "noise = 'torch'" in available.why_not(space, how, "torch")
    assert "save_metrics" in available.why_not(space, how.model_copy(update={"save_metrics": True}), "philox")
    assert available.why_not(space, how, "philox"), "the trial fails here, with its reason"
    space.part = "1 of 2"
    assert "several devices" in available.why_not(space, how, "philox")


def test_a_trial_tells_a_kernel_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch, launches: list[UpdatePlan]) -> None:
    here = torch.device("cpu")
    available.trial.cache_clear()
    assert [available.trial(here, method) for method in METHODS] == ["", "", ""]

    def wrong(plan: UpdatePlan, gradients: torch.Tensor, step: torch.Tensor) -> None:
        reference.launch(replace(plan, scalars=plan.scalars._replace(noise=plan.scalars.noise * 1.01)), gradients, step)

    monkeypatch.setattr(update, "kernels", lambda: wrong)
    available.trial.cache_clear()
    assert "its numbers are off by" in available.trial(here, "sgmcmc_sgld")
    available.trial.cache_clear()


def test_an_older_run_replays_by_operations() -> None:
    assert manifest.parse(LLC).compute.update == "auto"
    ran = LLC + "\n[provenance]\ndevice = 'x'\n[compute]\nchains = 'serial'\n"
    assert manifest.parse(ran).compute.update == "operations"
    assert manifest.parse(ran + "update = 'kernel'\n").compute.update == "kernel"


def test_a_run_says_why_it_has_no_kernel_and_goes_on_without_where_it_began_with_one(tmp_path: Path) -> None:
    problem, how = target(), config()
    asked = manifest.parse(LLC + "\n[compute]\nupdate = 'kernel'\n")
    context: Any = SimpleNamespace(common_path=tmp_path, alone=nullcontext, manifest=asked)
    executor = sampling_run.executor_of(context, problem, how)
    assert executor.update == "operations"
    (note,) = sampling_run.notes_on_update(asked, executor, problem, how)
    assert note == "noise and update are launched operation by operation, not as one kernel: there is no kernel for cpu"
    assert not sampling_run.notes_on_update(manifest.parse(LLC), executor, problem, how), "nobody expects one on a CPU"
    begun = executor.record() | {"update": "kernel", "noise": "philox"}
    (tmp_path / "executor.json").write_text(json.dumps(begun))
    assert sampling_run.executor_of(context, problem, how).update == "operations", "moved to a machine without it"
    del begun["update"]  # a run of before there was a choice
    (tmp_path / "executor.json").write_text(json.dumps(begun))
    assert sampling_run.executor_of(context, problem, how).update == "operations"
