"""The stacked form of a real Llama: SmolLM2-135M-Instruct from its GGUF. `make smollm2` fetches it; `make test-real` runs this."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sampler_models import SERIAL, STACKED, config, run

from interp_tui_engine.data.rows import load_rows
from interp_tui_engine.models.load import load_model
from interp_tui_engine.samplers.target.problem import ModuleTarget
from interp_tui_engine.specs import DataSpec

MODEL = Path(__file__).resolve().parents[3] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


@pytest.mark.skipif(not MODEL.is_file(), reason="make smollm2 fetches the model")
@pytest.mark.parametrize("method", ["sgmcmc_sgld", "rmsprop_sgld"])
def test_chains_of_smollm2_are_those_sampled_one_by_one(method: str) -> None:
    model = load_model(MODEL, device="cpu")
    rows = load_rows(DataSpec(source="builtin:prose", context=32, rows=8), model.tokenizer, name="prose").ids
    problem = ModuleTarget(model.module, rows, {}, 2)
    assert problem.stacked is not None, "a Llama with a stacked form"
    how = config(num_chains=2, num_draws=3, batch_size=2, lr=1e-6, n_beta=30.0, localization=100.0, sampling_method=method)
    together = run(problem, how, executor=replace(STACKED, width=2)).snapshot
    alone = run(problem, how, executor=SERIAL).snapshot
    torch.testing.assert_close(torch.from_numpy(together.trace), torch.from_numpy(alone.trace), rtol=1e-4, atol=1e-5)
    assert [c.distance for c in together.chains] == pytest.approx([c.distance for c in alone.chains], rel=1e-4)
    assert [c.gradient_norm for c in together.chains] == pytest.approx([c.gradient_norm for c in alone.chains], rel=1e-3)
    assert together.trace.std() > 1e-3, "the chains move"
