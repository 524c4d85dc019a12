"""On a real GPU: what simulation cannot show. Run by `make gpu`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def deterministic() -> object:
    from interp_tui_engine.models.device import compute_deterministically

    compute_deterministically(CUDA, True)
    yield
    torch.use_deterministic_algorithms(False)


def traces(mode: str, noise: str, chains: int = 4, device: torch.device = CUDA, draws: int = 8, update: str = "operations") -> object:
    from interp_tui_engine.data.rows import load_rows
    from interp_tui_engine.models.load import load_model
    from interp_tui_engine.samplers.chains.executor import choose_executor
    from interp_tui_engine.samplers.chains.run import Command, run_chains
    from interp_tui_engine.samplers.settings import SamplerConfig
    from interp_tui_engine.samplers.target.problem import ModuleTarget
    from interp_tui_engine.specs import DataSpec

    model = load_model("builtin:tiny", device=str(device))
    rows = load_rows(DataSpec(source="builtin:prose", context=32, rows=32), model.tokenizer, name="train").ids.long()
    target = ModuleTarget(model.module, rows, {"train": (rows, 1)}, 8)
    settings = dict(lr=1e-4, n_beta=30.0, localization=100.0, batch_size=8, num_init_loss_batches=2)
    config = SamplerConfig.model_validate(settings | {"num_chains": chains, "num_draws": draws})
    executor = replace(choose_executor(target, config, range(chains), mode), noise=noise, update=update)
    return run_chains(
        target,
        config,
        chains=range(chains),
        store=None,
        executor=executor,
        checkpoint_dir=None,
        checkpoint_every=None,
        poll=lambda: Command.GO,
        report=lambda snapshot: None,
        report_every=1e9,
        warn=lambda text: None,
    ).snapshot.trace


def test_philox_by_the_kernel_is_philox_by_operations() -> None:
    from interp_tui_engine.samplers.philox import PhiloxSource, has_kernel

    source = PhiloxSource(1, 2, [4 << 30], "step")
    assert has_kernel(CUDA), "triton, which comes with torch's builds for CUDA, gives the same numbers"
    by_kernel = source.fill(torch.empty(1 << 20, device=CUDA), 7, 0)
    torch.testing.assert_close(by_kernel, source.fill_by_operations(torch.empty(1 << 20, device=CUDA), 4 << 30, 7), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(by_kernel.cpu(), source.fill(torch.empty(1 << 20), 7, 0), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("method", ["sgmcmc_sgld", "rmsprop_sgld", "sgnht"])
def test_an_update_by_the_kernel_has_the_numpy_references_bits(method: str) -> None:
    from interp_tui_engine.samplers.fused.available import trial
    from interp_tui_engine.samplers.fused.plan import plan_of
    from interp_tui_engine.samplers.fused.update_triton import launch
    from interp_tui_engine.samplers.kernel import kernel_of
    from interp_tui_engine.samplers.philox import PhiloxSource, StackedPhilox
    from interp_tui_engine.samplers.settings import SamplerConfig
    from interp_tui_engine.samplers.target.parameters import ParameterSpace
    from references import fused_update as reference

    assert trial(CUDA, method) == ""
    how = SamplerConfig(lr=1e-3, n_beta=30.0, localization=10.0, bounding_box_size=0.1, sampling_method=method)
    wrote = []
    for device in (CUDA, torch.device("cpu")):
        draw = torch.Generator().manual_seed(0)
        space = ParameterSpace({"w": torch.randn(50_001, generator=draw).to(device)}, None)
        flat, gradient = space.anchor().repeat(2, 1), torch.randn(2, space.size, generator=draw).to(device)
        vectors = {name: value for name, value in vars(kernel_of(method).init(flat, how)).items() if name != "weights"}
        noise = StackedPhilox([PhiloxSource(7, chain, space.starts, "step") for chain in (4, 5)], device)
        plan = plan_of(space, how, flat, vectors, noise, None, torch.float32, gradient.stride(0))
        addresses = torch.tensor([gradient[0, b.start :].data_ptr() for b in space.blocks], device=device)
        (launch if device == CUDA else reference.launch)(plan, addresses, torch.full((1,), 9, device=device))
        wrote.append([values.cpu()[:, : space.numel] for values in (flat, *vectors.values())] + [plan.norms.cpu()])
    *mine, norms = wrote[0]
    *want, others = wrote[1]
    assert all(torch.equal(*pair) for pair in zip(mine, want, strict=True))
    torch.testing.assert_close(norms, others, rtol=1e-6, atol=0.0)  # sums within a tile in another order


@pytest.mark.parametrize("mode", ["stacked", "vmap", "serial"])
@pytest.mark.parametrize("noise", ["torch", "philox"])
def test_two_samplings_have_the_same_bits(mode: str, noise: str) -> None:
    import numpy as np

    assert np.array_equal(traces(mode, noise), traces(mode, noise))


def test_a_chain_on_the_gpu_is_the_chain_on_the_cpu() -> None:
    import numpy as np

    # the same noise; sums in other orders, over eight steps
    np.testing.assert_allclose(traces("serial", "philox", 2), traces("serial", "philox", 2, torch.device("cpu")), rtol=1e-3)


@pytest.mark.parametrize("mode", ["stacked", "vmap", "serial"])
def test_chains_by_the_kernel_are_those_by_operations(mode: str) -> None:
    import numpy as np

    by_kernel = traces(mode, "philox", update="kernel")
    assert np.array_equal(by_kernel, traces(mode, "philox", update="kernel"))
    np.testing.assert_allclose(by_kernel, traces(mode, "philox"), rtol=1e-4)


def test_the_modes_agree() -> None:
    import numpy as np

    for mode in ("stacked", "vmap"):
        np.testing.assert_allclose(traces(mode, "philox"), traces("serial", "philox"), rtol=1e-3)


def test_a_step_is_recorded_and_played_with_the_bits_of_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from interp_tui_engine.samplers.chains import device_chains, graphs

    recorded = []
    record = graphs.cuda_recorder

    def counted(device: torch.device) -> object:
        inner = record(device)
        return lambda step: recorded.append(1) or inner(step)  # type: ignore[func-returns-value,misc]

    monkeypatch.setattr(device_chains, "cuda_recorder", counted)
    played = traces("stacked", "philox", draws=24, update="kernel")
    assert recorded
    monkeypatch.setattr(device_chains, "cuda_recorder", lambda device: None)
    assert np.array_equal(played, traces("stacked", "philox", draws=24, update="kernel"))


def test_the_check_of_this_gpu_finds_nothing_to_complain_of() -> None:
    from interp_tui_engine.runtime.gpu_check import examine

    assert [trial for trial in examine(CUDA) if trial.advice] == []


def test_losses_and_sparse_sums_are_by_their_kernels() -> None:
    from interp_tui_engine.dictionaries import sparse_products
    from interp_tui_engine.samplers.target import row_losses

    assert row_losses.kernel_on(CUDA) is not None and sparse_products.kernel_on(CUDA) is not None
    draw = torch.Generator().manual_seed(0)
    z, target = (6 * torch.randn(300, 50_257, generator=draw)).to(CUDA), torch.randint(0, 50_257, (300,), generator=draw).to(CUDA)
    by_kernel = torch.empty(300, device=CUDA)
    row_losses.losses(z, target, by_kernel)
    torch.testing.assert_close(by_kernel, torch.nn.functional.cross_entropy(z, target, reduction="none"), rtol=1e-5, atol=1e-5)
    slopes = z.clone()
    row_losses.slopes_(slopes, target, None)
    want = z.double().softmax(-1)
    want[torch.arange(300, device=CUDA), target] -= 1.0
    torch.testing.assert_close(slopes.double(), want, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka"])
def test_a_dictionary_learns_the_same_bits_twice_and_what_the_cpu_learns(architecture: str) -> None:
    from interp_tui_engine.dictionaries.learner import Learner
    from interp_tui_engine.dictionaries.names import Sparsity
    from interp_tui_engine.dictionaries.registry import build
    from interp_tui_engine.dictionaries.schedule import Schedule
    from interp_tui_engine.dictionaries.weights import tied

    learnt = []
    for device in (CUDA, CUDA, torch.device("cpu")):
        draw = torch.Generator().manual_seed(0)
        rows = torch.randn(2_000, 96, generator=draw).to(device)
        sparsity = Sparsity(k=8, l1=0.1, l0=1.0, bandwidth=0.5, threshold=0.2, prefixes=3)
        start, schedule = tied(768, rows, torch.Generator().manual_seed(1)), Schedule(100, 1e-3, 1, 10, 1)
        learner = Learner(build(architecture, 768, sparsity), start, schedule, auxk_coefficient=0.1, k_aux=8, dead_after=10**9, bf16=False)
        learner.differentiate((rows[:256],))
        gradients = {f"{name}, gradient": w.grad.cpu() for name, w in learner.weights.named().items() if w.grad is not None}
        for step in range(5):
            learner.step(rows[step * 256 : step * 256 + 256])
        learnt.append(gradients | {name: tensor.detach().cpu() for name, tensor in learner.weights.named().items()})
    first, again, here = learnt
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name]), name
        if "gradient" in name:  # Adam makes steps of 1 of gradients that are rounding
            torch.testing.assert_close(tensor, here[name], rtol=1e-4, atol=1e-5, msg=name)


def test_chunks_made_on_a_stream_of_their_own_are_those_made_when_needed() -> None:
    from interp_tui_engine.dictionaries.side_stream import CudaStreams, SideStream
    from interp_tui_engine.dictionaries.stream import ShuffleBuffer

    matrix = torch.randn(2_048, 2_048, device=CUDA, generator=torch.Generator(CUDA).manual_seed(0)) / 2_048**0.5

    def chunk(index: int) -> torch.Tensor:
        rows = torch.full((512, 2_048), float(index + 1), device=CUDA)
        for _ in range(8):
            rows = rows @ matrix
        return rows

    side = SideStream(CudaStreams(CUDA), lambda index: (chunk(index), lambda: None))
    plain, ahead = ShuffleBuffer(chunk, 4_096, 1), ShuffleBuffer(chunk, 4_096, 1, side)
    for _ in range(40):
        assert torch.equal(plain.take(256), ahead.take(256))
