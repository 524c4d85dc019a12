"""bfloat16 models in stacked chains: the arithmetic of serial ones, restricted or not; and a loss that no transform can reach into."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_models import SERIAL, VMAP, config, llama, run, tiny_lm, token_rows

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


def test_auto_does_not_stack_chains_whose_loss_is_the_users_own_function():
    rows = token_rows()
    own = ModuleTarget(tiny_lm(), rows, {}, 4, loss_fn=lambda model, ids: model(ids)[:, :-1, 0])
    assert own.custom_loss and not ModuleTarget(tiny_lm(), rows, {}, 4).custom_loss
    with simulated_gpu():
        model = to_gpu(llama())
        targets = [ModuleTarget(model, rows, {}, 4, loss_fn=loss) for loss in (None, lambda model, ids: model(ids).logits[:, :-1, 0])]
        assert [choose_executor(target, config(), range(4), memory=1 << 30).mode for target in targets] == ["vmap", "serial"]
