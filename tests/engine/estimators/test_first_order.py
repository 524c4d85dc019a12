"""First order: against gradients taken token by token, against the exact Hessian, and against sampling where it must agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stores import gaussian_draws, store

from interp_tui_engine.estimators.first_order import LinearResponse, gram, norm, relaxation, scatter
from interp_tui_engine.estimators.susceptibilities import baseline, response
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.restrictions.masks import masks_of, selection_of
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import ModuleTarget
from references.first_order import token_gradients

CONFIG = SamplerConfig(lr=4e-3, n_beta=2.0, localization=100.0)


def curved(weights, batch):
    """Losses (b, 2) of x (b, 3): not linear in the weights, and of two parameters."""
    hidden = torch.tanh(batch @ weights["a"])
    return torch.stack([(hidden * weights["b"]).sum(-1), (hidden**2).sum(-1)], -1)


@pytest.fixture
def small():
    generator = torch.Generator().manual_seed(0)
    weights = {"a": torch.randn(3, 4, generator=generator), "b": torch.randn(4, generator=generator)}
    batches = [torch.randn(n, 3, generator=generator) for n in (4, 3)]
    return weights, batches


@pytest.mark.parametrize("masked", [False, True])
def test_products_are_those_of_gradients_taken_one_by_one(small, masked):
    weights, batches = small
    masks = {"a": (torch.arange(12) % 3 > 0).float().view(3, 4)} if masked else {}
    linear = LinearResponse(curved, weights, masks)
    gradient, loss = linear.gradient(batches)
    each = token_gradients(curved, weights, batches, masks)
    assert loss == pytest.approx(float(torch.cat([curved(weights, b) for b in batches]).mean()), rel=1e-6)
    mean = each.reshape(-1, each.shape[-1]).mean(0)
    np.testing.assert_allclose(torch.cat([g.reshape(-1) for g in gradient.values()]).numpy(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(linear.along(gradient, batches), each @ mean, rtol=1e-4, atol=1e-5)
    assert norm(gradient) ** 2 == pytest.approx(float(mean @ mean), rel=1e-4)


def test_curvature_is_that_of_the_hessian(small):
    weights, batches = small
    linear = LinearResponse(curved, weights, {})
    gradient, _ = linear.gradient(batches)

    def loss(flat):
        return torch.cat([curved({"a": flat[:12].view(3, 4), "b": flat[12:]}, b) for b in batches]).mean()

    hessian = torch.autograd.functional.hessian(loss, torch.cat([weights["a"].reshape(-1), weights["b"]]))
    u = torch.cat([g.reshape(-1) for g in gradient.values()]) / norm(gradient)
    assert linear.curvature(gradient, batches) == pytest.approx(float(u @ hessian @ u), rel=1e-4)


@pytest.mark.parametrize("budget", [1, 1 << 20])
def test_gram_matrices_are_made_in_blocks(small, budget):
    weights, batches = small
    rows = [row[None] for batch in batches for row in batch]
    each = token_gradients(curved, weights, batches, {}).mean(1)
    np.testing.assert_allclose(gram(LinearResponse(curved, weights, {}), rows, budget), each @ each.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("restriction", ["l1h2", "l3 mlp", ["l0h1", "embed"]])
def test_a_part_of_a_model_has_the_products_of_its_own_weights(restriction):
    """A head, rows and columns of whose weights move; a layer, below which nothing is computed; a union with a tied matrix."""
    from interp_tui_engine.experiments._sampling.first_order import first_order

    model = load_model("builtin:tiny", device="cpu")
    rows = torch.randint(0, 2000, (3, 6), generator=torch.Generator().manual_seed(1))
    masks = masks_of(selection_of(model.module, restriction))
    problem = ModuleTarget(model.module, rows, {"train": (rows, 1)}, 3, masks=masks)
    found = first_order(problem, CONFIG, "train", ["train"])
    whole = ModuleTarget(model.module, rows, {"train": (rows, 1)}, 3)
    moving = {name: torch.zeros_like(w) if name not in masks else torch.ones_like(w) if masks[name] is None else masks[name].float()
              for name, w in whole.space.anchors().items()}  # fmt: skip
    each = token_gradients(whole.functional, whole.space.anchors(), [whole.observables[0].data], moving)
    mean = each.reshape(-1, each.shape[-1]).mean(0)
    scale = float(mean @ mean)
    np.testing.assert_allclose(found.products["train"], each @ mean, rtol=0, atol=1e-4 * scale + 1e-4 * np.abs(each @ mean).max())
    assert found.squared == pytest.approx(scale, rel=1e-3)
    chi = found.chi("train")
    assert chi is not None and abs(chi.mean()) < 1e-5 * np.abs(chi).max(), "relative to the sampling data itself, on average nothing"


def test_the_scatter_is_that_of_the_step():
    """The stationary variance and the memory of SGLD held by localization alone."""
    w = gaussian_draws(torch.zeros(4), None, 0, n_beta=0.0, localization=100.0, lr=4e-3, chains=40, draws=500)
    s = scatter(CONFIG)
    assert s == pytest.approx(1 / (100 * 0.9))
    # draws ten steps apart remember 0.8^10 = 0.1 of each other; 80,000 have a variance known to 0.5 %
    assert w.var() == pytest.approx(s, rel=0.02)
    assert relaxation(CONFIG, 10) == pytest.approx(0.8**10)
    assert np.mean(w[:, 1:] * w[:, :-1]) / w.var() == pytest.approx(relaxation(CONFIG, 10), abs=0.02)
    assert scatter(CONFIG.model_copy(update={"localization": 0.0})) is None
    assert scatter(CONFIG.model_copy(update={"sampling_method": "sgnht"})) == pytest.approx(1 / 100)
    assert scatter(CONFIG.model_copy(update={"noise_level": 0.5})) == pytest.approx(s / 4)


def test_sampled_covariances_agree_with_the_first_order_within_their_errors():
    """Losses linear in the weights but for a little curvature, which localization drowns: chi to first order is what sampling finds."""
    h, chains, draws = torch.tensor([0.5, 1.0, 2.0]), 20, 100
    g, tokens = np.array([1.0, 0.5, -0.5]), np.array([[1.0, 0, 0], [0, 1, 0], [-0.5, 0, 1], [1, 1, 1]])
    settings = {"n_beta": CONFIG.n_beta, "localization": CONFIG.localization, "lr": CONFIG.lr}
    w = gaussian_draws(h, None, 3, **settings, chains=chains, draws=draws)
    values = {"pile": (w @ g + (h.numpy() * w**2).sum(-1) / 2)[:, :, None, None], "probe": (w @ tokens.T)[..., None]}
    samples = store(values, start={"pile": [[0.0]], "probe": np.zeros((4, 1))}).dataset
    found = response(samples, baseline(samples, "pile", ["probe"])).covariance["probe"]
    a = CONFIG.n_beta * h.double().numpy() + CONFIG.localization
    s = scatter(CONFIG)
    exact = s * (g @ g - tokens @ g)
    assert np.abs(1 / (a * (1 - CONFIG.lr * a / 4)) / s - 1).max() < 0.05, "curvature changes the scatter by less than this"
    assert (np.abs(found.value[:, 0] - exact) < 4 * found.std_error[:, 0] + 0.05 * np.abs(exact)).all()
    assert np.abs(exact).max() > 10 * found.std_error.max()
