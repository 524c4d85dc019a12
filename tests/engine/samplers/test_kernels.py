"""The update rules: by hand, and by the stationary law they must have."""

from __future__ import annotations

import math

import pytest
import torch

from interp_tui_engine.samplers import rmsprop_sgld, sgld
from interp_tui_engine.samplers.settings import SamplerConfig


def cfg(**changes: object) -> SamplerConfig:
    return SamplerConfig(**{"lr": 0.01, "n_beta": 3.0, **changes})  # type: ignore[arg-type]


W = torch.tensor([1.0, -2.0, 0.5])
W0 = torch.tensor([0.5, -2.0, 0.0])
G = torch.tensor([2.0, 1.0, -1.0])
N = torch.tensor([0.3, -1.0, 2.0])


def test_sgld_by_hand():
    c = cfg(localization=4.0, llc_weight_decay=2.0, noise_level=0.5)
    state = sgld.step(sgld.init(W.clone(), c), G, N.clone(), W0, None, c)
    want = W - 0.005 * (3 * G + 4 * (W - W0) + 2 * W) + 0.1 * 0.5 * N
    torch.testing.assert_close(state.weights, want)


def test_mask_scales_the_whole_update_and_the_box_clamps():
    c = cfg(bounding_box_size=0.6)
    mask = torch.tensor([1.0, 0.0, 1.0])
    state = sgld.step(sgld.init(W.clone(), c), 100 * G, N.clone(), W0, mask, c)
    assert state.weights.tolist() == pytest.approx([0.5 - 0.6, -2.0, 0.6])


def test_noise_level_zero_is_gradient_descent():
    c = cfg(noise_level=0.0)
    state = sgld.step(sgld.init(W.clone(), c), G, N.clone(), W0, None, c)
    torch.testing.assert_close(state.weights, W - 0.015 * G)


def test_rmsprop_by_hand():
    c = cfg(sampling_method="rmsprop_sgld", sampling_method_kwargs={"alpha": 0.9, "eps": 0.2}, localization=4.0)
    state = rmsprop_sgld.init(W.clone(), c)
    v = torch.zeros(3)
    w = W.clone()
    for _ in range(2):
        state = rmsprop_sgld.step(state, G, N.clone(), W0, None, c)
        v = 0.9 * v + 0.1 * G**2
        g_diag = 1 / (v.sqrt() + 0.2)
        w = w - 0.005 * g_diag * (3 * G + 4 * (w - W0)) + 0.1 * g_diag.sqrt() * N
    torch.testing.assert_close(state.weights, w)
    torch.testing.assert_close(state.square_avg, v)
    torch.testing.assert_close(rmsprop_sgld.conditioner(state, c), g_diag)


@pytest.mark.parametrize("gamma", [0.0, 5.0])
def test_sgld_on_a_gaussian_has_the_variance_of_its_ar1_process(gamma):
    """w' = (1 - εa/2) w + sqrt(ε) n has variance 1 / (a (1 - εa/4))."""
    chains, steps, h = 4000, 400, torch.tensor([1.0, 4.0])
    c = cfg(lr=0.1, n_beta=2.0, localization=gamma)
    state = sgld.init(torch.zeros(chains, 2), c)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        state = sgld.step(state, h * state.weights, torch.randn(chains, 2, generator=generator), torch.zeros(2), None, c)
    a = 2.0 * h + gamma
    want = 1 / (a * (1 - 0.1 * a / 4))
    # the variance of n normal draws has relative standard error sqrt(2/n)
    torch.testing.assert_close(state.weights.var(0), want, rtol=4 * math.sqrt(2 / chains), atol=0.0)
    assert (state.weights.mean(0).abs() < 4 * (want / chains).sqrt()).all()


def test_rmsprop_with_constant_curvature_tends_to_the_posterior():
    """With alpha near 1, G is nearly constant, and the law that of a preconditioned Langevin process: variance 1/a up to ε."""
    chains = 4000
    c = cfg(lr=0.02, n_beta=1.0, sampling_method="rmsprop_sgld", sampling_method_kwargs={"alpha": 0.999, "eps": 1.0}, localization=0.0)
    state = rmsprop_sgld.init(torch.randn(chains, 1, generator=torch.Generator().manual_seed(1)), c)
    generator = torch.Generator().manual_seed(0)
    for _ in range(1500):
        state = rmsprop_sgld.step(state, state.weights.clone(), torch.randn(chains, 1, generator=generator), torch.zeros(1), None, c)
    assert float(state.weights.var()) == pytest.approx(1.0, rel=4 * math.sqrt(2 / chains) + 0.02)
