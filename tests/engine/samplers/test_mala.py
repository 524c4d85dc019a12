"""MALA acceptance: a known value, the formula written out, and as a run records it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from sampler_models import SERIAL, VMAP, config, make_store, problem, run, tiny_lm, token_rows

from interp_tui_engine.samplers import mala
from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains.store import digests


def test_the_known_value():
    """U = |x|^2 / 2 from the origin to (10.5, 5.5) with eps = 0.1. The published figure was computed in float32."""
    point = torch.tensor([10.5, 5.5])
    found = mala.acceptance(torch.zeros(2), torch.zeros(2), 0.0, point, point, 70.25, 0.1)
    forward, backward = 140.5 / 0.2, 0.95**2 * 140.5 / 0.2
    assert found == pytest.approx(math.exp(-70.25 + forward - backward), rel=1e-6)
    assert abs(math.log(found / 0.17268492)) < 2**-23 * forward  # one rounding of its largest term


def test_a_small_step_is_accepted_and_a_reversed_one_makes_up_for_it():
    a, b = torch.tensor([0.3, -0.2]), torch.tensor([0.31, -0.18])
    there = mala.log_proposal_ratio(a, b, a, b, None, 0.01, 1.0)
    back = mala.log_proposal_ratio(b, a, b, a, None, 0.01, 1.0)
    assert float(there) == pytest.approx(-float(back), abs=1e-12)
    assert mala.probability(float("nan")) == 0.0 and mala.probability(3.0) == 1.0


def test_one_block_is_the_formula_written_out_in_densities():
    c = config(lr=0.02, n_beta=7.0, localization=3.0, llc_weight_decay=0.5, noise_level=0.9)
    generator = torch.Generator().manual_seed(3)
    w, end, g, g_end, w0 = torch.randn(5, 6, generator=generator)
    end = w + 0.1 * end
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    end = torch.where(mask > 0, end, w)
    g_diag = torch.rand(6, generator=generator) + 0.5
    found = float(mala.log_ratio_of_block(w, end, g, g_end, w0, mask, g_diag, c))

    def drift(x, grad):
        return 7 * grad + 3 * (x - w0) + 0.5 * x

    def log_q(to, at, grad):
        law = torch.distributions.Normal(at - 0.01 * g_diag * drift(at, grad), (0.02 * g_diag).sqrt() * 0.9)
        return float((law.log_prob(to) * mask).sum())

    def prior(x):
        return float((mask * (1.5 * (x - w0) ** 2 + 0.25 * x**2)).sum())

    want = prior(w) - prior(end) + log_q(w, end, g_end) - log_q(end, w, g)
    assert found == pytest.approx(want, abs=1e-3)  # densities in float32


@pytest.mark.parametrize("executor", [SERIAL, VMAP], ids=["serial", "vmap"])
def test_a_run_records_it_and_its_draws_stay_the_same(tmp_path: Path, executor):
    plain, looking = (
        config(num_chains=2, sampling_method="rmsprop_sgld"),
        config(num_chains=2, sampling_method="rmsprop_sgld", acceptance_every=2),
    )
    stores = {}
    for name, c in (("plain", plain), ("looking", looking)):
        p = problem(c)
        stores[name] = make_store(tmp_path / name, p, c)
        run(p, c, stores[name], executor=executor)
    found = digests(tmp_path / "looking")
    accepted = np.asarray(zarr.open_group(tmp_path / "looking", mode="r")["acceptance"])
    assert accepted.shape == (2, 3) and np.isfinite(accepted).all() and (accepted > 0).all() and (accepted <= 1).all()
    assert {k: v for k, v in found.items() if k != "acceptance"} == digests(tmp_path / "plain")


def test_the_first_step_of_a_chain_against_autograd(tmp_path: Path):
    """Loss and gradient at both ends from the model itself."""
    c = config(num_chains=1, num_draws=1, acceptance_every=1, lr=2e-2, n_beta=50.0)
    model, rows = tiny_lm(), token_rows()
    p = problem(c, model)
    final = {}

    store = make_store(tmp_path / "s", p, c)
    from interp_tui_engine.samplers.chains import chain as chains

    kept = chains.Chain._acceptance

    def spy(self, step, loss, start, gradients):
        final["start"], final["end"] = start.clone(), self.weights.flat.clone()
        return kept(self, step, loss, start, gradients)

    chains.Chain._acceptance = spy  # type: ignore[method-assign]
    try:
        run(p, c, store)
    finally:
        chains.Chain._acceptance = kept  # type: ignore[method-assign]
    batch = rows[BatchOrder(rows.shape[0], c).step(0, 0)[0]]
    ends = []
    for flat in (final["start"], final["end"]):
        leaves = {name: view.clone().requires_grad_() for name, view in p.space.views(flat).items()}
        loss = p.functional(leaves, batch).mean()
        loss.backward()
        gradient = torch.zeros_like(flat)
        for slot in p.space.slots:
            gradient[slot.start : slot.stop] = leaves[slot.name].grad.reshape(-1)
        away = flat - p.space.anchor()
        potential = 50 * float(loss.detach()) + 2.5 * float(away.square().sum())
        ends.append((flat, 50 * gradient + 5 * away, potential))
    want = mala.acceptance(ends[0][0], ends[0][1], ends[0][2], ends[1][0], ends[1][1], ends[1][2], 2e-2)
    found = float(np.asarray(zarr.open_group(tmp_path / "s", mode="r")["acceptance"])[0, 0])
    assert 0.0 < want < 1.0
    assert math.log(found) == pytest.approx(math.log(want), abs=2e-3)
