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


def traces(mode: str, noise: str, chains: int = 4, device: torch.device = CUDA, draws: int = 8) -> object:
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
    executor = replace(choose_executor(target, config, range(chains), mode), noise=noise)
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


@pytest.mark.parametrize("mode", ["stacked", "vmap", "serial"])
@pytest.mark.parametrize("noise", ["torch", "philox"])
def test_two_samplings_have_the_same_bits(mode: str, noise: str) -> None:
    import numpy as np

    assert np.array_equal(traces(mode, noise), traces(mode, noise))


def test_a_chain_on_the_gpu_is_the_chain_on_the_cpu() -> None:
    import numpy as np

    # the same noise; sums in other orders, over eight steps
    np.testing.assert_allclose(traces("serial", "philox", 2), traces("serial", "philox", 2, torch.device("cpu")), rtol=1e-3)


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
    played = traces("stacked", "philox", draws=24)
    assert recorded
    monkeypatch.setattr(device_chains, "cuda_recorder", lambda device: None)
    assert np.array_equal(played, traces("stacked", "philox", draws=24))


def test_the_check_of_this_gpu_finds_nothing_to_complain_of() -> None:
    from interp_tui_engine.runtime.gpu_check import examine

    assert [trial for trial in examine(CUDA) if trial.advice] == []
