"""bfloat16 models in stacked chains: the arithmetic of serial ones, restricted or not; and a loss that no transform can reach into."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_models import SERIAL, STACKED, THREADS, VMAP, config, llama, run, tiny_lm, token_rows

from interp_tui_engine.samplers.chains.executor import choose_executor
from interp_tui_engine.samplers.target.problem import ModuleTarget
from simulated_gpu import simulated_gpu, to_gpu

SOME_ROWS = torch.zeros(12, 12)
SOME_ROWS[3:7] = 1
SPECKLED = (torch.arange(144) % 3 == 0).float().view(12, 12)


@pytest.mark.parametrize(
    "masks",
    [None, {"mix.weight": SOME_ROWS}, {"mix.weight": SPECKLED, "out.bias": None}],
    ids=["all", "a stretch of rows", "a speckled mask"],
)
def test_stacked_chains_compute_in_the_models_precision(masks):
    computed_in: set[torch.dtype] = set()
    model = tiny_lm().to(torch.bfloat16)
    model.mix.register_forward_hook(lambda module, args, output: computed_in.add(output.dtype))
    rows, c = token_rows(), config(num_chains=2)
    stacked = run(ModuleTarget(model, rows, {"o": (rows, 1)}, 4, masks=masks), c, executor=VMAP).snapshot
    assert computed_in == {torch.bfloat16}
    serial = run(ModuleTarget(model, rows, {"o": (rows, 1)}, 4, masks=masks), c, executor=SERIAL).snapshot
    np.testing.assert_allclose(stacked.trace, serial.trace, rtol=8 * torch.finfo(torch.bfloat16).eps)
    assert [chain.failed_reason for chain in stacked.chains] == [None, None]


@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP, STACKED], ids=lambda e: e.mode)
def test_passes_in_bfloat16_leave_the_weights_in_float32(executor):
    """Steps far below bfloat16's resolution of the weights move the chain; the loss is that of float32 to bfloat16's rounding."""
    rows, model = token_rows(), llama()
    low = ModuleTarget(model, rows, {"o": (rows, 1)}, 4, computes_in=torch.bfloat16)
    full = ModuleTarget(model, rows, {"o": (rows, 1)}, 4)
    assert torch.equal(low.space.anchor(), full.space.anchor()) and low.space.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.parameters()), "the model itself is not changed"
    small = config(lr=1e-10, num_chains=2, num_draws=3)
    ours, theirs = (run(target, small, executor=executor).snapshot for target in (low, full))
    np.testing.assert_allclose(ours.trace, theirs.trace, rtol=8 * torch.finfo(torch.bfloat16).eps)
    assert not np.array_equal(ours.trace, theirs.trace)
    assert [c.distance for c in ours.chains] == pytest.approx([c.distance for c in theirs.chains], rel=1e-3)
    assert all(c.distance > 0 for c in ours.chains)


def test_a_part_of_the_weights_is_sampled_in_bfloat16_too():
    rows, some = token_rows(), {"model.layers.1.self_attn.q_proj.weight": (torch.arange(16) < 4).float()[:, None].expand(16, 16)}
    traces = [
        run(ModuleTarget(llama(), rows, {}, 4, masks=some, computes_in=dtype), config(num_chains=1), executor=SERIAL).snapshot.trace
        for dtype in (None, torch.bfloat16)
    ]
    np.testing.assert_allclose(traces[1], traces[0], rtol=8 * torch.finfo(torch.bfloat16).eps)


def test_auto_does_not_stack_chains_whose_loss_is_the_users_own_function():
    rows = token_rows()
    own = ModuleTarget(tiny_lm(), rows, {}, 4, loss_fn=lambda model, ids: model(ids)[:, :-1, 0])
    assert own.custom_loss and not ModuleTarget(tiny_lm(), rows, {}, 4).custom_loss
    with simulated_gpu():
        model = to_gpu(llama())
        targets = [ModuleTarget(model, rows, {}, 4, loss_fn=loss) for loss in (None, lambda model, ids: model(ids).logits[:, :-1, 0])]
        assert [choose_executor(target, config(), range(4), memory=1 << 30).mode for target in targets] == ["stacked", "serial"]
