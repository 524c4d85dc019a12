"""The control of λ̂: weights drawn from the law at nβ = 0 are those that a chain at nβ = 0 reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sampler_models import config

from interp_tui_engine.samplers import sgld
from interp_tui_engine.samplers.chains.control import control_law, control_rises
from interp_tui_engine.samplers.target.problem import FunctionTarget

H = torch.linspace(0.5, 4.0, 40)


@pytest.mark.parametrize(
    "settings",
    [
        {"localization": 50.0, "lr": 1e-2},
        {"localization": 0.0, "lr": 1e-3},
        {"localization": 20.0, "lr": 5e-3, "llc_weight_decay": 10.0, "init_noise": 0.5},
        {"localization": 0.0, "lr": 5e-3, "llc_weight_decay": 30.0, "noise_level": 0.5},
    ],
    ids=["localization", "a random walk", "weight decay and a kick", "weight decay alone"],
)
def test_its_law_is_that_of_a_chain(settings):
    c = config(n_beta=0.0, num_chains=1, **settings)
    anchor, chains, steps = torch.ones(2), 20_000, 30
    generator = torch.Generator().manual_seed(0)
    state = sgld.init(anchor + (c.init_noise or 0.0) * torch.randn(chains, 2, generator=generator), c)
    for _ in range(steps):
        state = sgld.step(state, torch.zeros(chains, 2), torch.randn(chains, 2, generator=generator), anchor, None, c)
    away = (state.weights - anchor).double()
    lost, deviation = control_law(c, steps)
    n = away.numel()
    assert float(away.mean()) == pytest.approx(-lost, abs=4 * deviation / math.sqrt(n))
    assert float(away.std()) == pytest.approx(deviation, rel=4 / math.sqrt(2 * n))


def test_other_samplers_have_the_law_of_small_steps_and_a_step_too_large_has_none():
    assert control_law(config(sampling_method="rmsprop_sgld", localization=25.0), 9) == (0.0, 0.2)
    assert control_law(config(sampling_method="sgnht", localization=0.0), 9) is None
    assert control_law(config(lr=1.0, localization=5.0), 9) is None


def quadratic(masks=None) -> FunctionTarget:
    rows = torch.randn(64, 1, generator=torch.Generator().manual_seed(2))
    return FunctionTarget(lambda p, b: (p["w"] ** 2 * H).sum() / 2 + b[:, 0], {"w": torch.zeros(40)}, rows, {}, 8, masks=masks)


@pytest.mark.parametrize("mask", [None, (torch.arange(40) % 2).float()], ids=["all", "every other weight"])
def test_the_rise_is_taken_on_the_same_rows_and_masked(mask):
    c = config(localization=50.0, lr=1e-2, batch_size=8, num_draws=100, num_chains=1)
    rises = control_rises(quadratic(None if mask is None else {"w": mask}), c, 200)
    h = H if mask is None else H * mask
    late = rises[100:]  # by then the law is the stationary one
    variance = 1 / (50 * (1 - 1e-2 * 50 / 4))
    want = float(h.sum()) * variance / 2
    error = variance * float(h.square().sum()) ** 0.5 / math.sqrt(2 * len(late))
    assert late.mean() == pytest.approx(want, abs=4 * error), "rows differ by whole nats; none of that is in it"
    assert np.array_equal(rises, control_rises(quadratic(None if mask is None else {"w": mask}), c, 200)), "keyed noise"
