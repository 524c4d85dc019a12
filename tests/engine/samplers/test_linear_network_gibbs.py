"""Gibbs draws for linear networks, against importance sampling from the prior and against values computed elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from interp_tui_engine.samplers.certification.linear_network_gibbs import ladder, tempered_draws
from interp_tui_engine.samplers.certification.toy import LinearNetwork


def tempered(network, n_betas, *, ladders=32, seed=0, sweeps=150, localization=1.0, draws=64):
    generator = torch.Generator().manual_seed(seed)
    settings = {"rung": 0, "draws": draws, "ladders": ladders, "burn_in": 50, "sweeps": sweeps, "generator": generator}
    return tempered_draws(network, n_betas, localization, **settings)


@pytest.mark.parametrize(("widths", "rank", "localization"), [((2, 2, 2), 1, 1.0), ((2, 1, 2, 2), 1, 3.0), ((2, 2, 1), 0, 0.5)])
def test_the_mean_is_that_of_weighted_draws_from_the_prior(widths, rank, localization):
    network, n_beta = LinearNetwork(widths, rank), 3.0
    generator = torch.Generator().manual_seed(1)
    prior = network.anchor + torch.randn(400_000, network.anchor.numel(), generator=generator) / math.sqrt(localization)
    energy = n_beta * network.loss(prior).double()
    weight = (-energy).exp()
    want = float((weight * energy).sum() / weight.sum())
    error = float(((weight * (energy - want)).square().sum()).sqrt() / weight.sum())
    result = tempered(network, (n_beta, 6.0), localization=localization)
    assert abs(result.means[0] - want) <= 4 * math.hypot(error, result.std_errors[0])
    # the draws themselves, not only the average that was taken in closed form
    kept = n_beta * network.loss(result.draws)
    assert abs(float(kept.mean()) - want) <= 4 * float(kept.std()) / math.sqrt(len(kept))


def test_values_of_a_four_layer_network_are_those_computed_by_another_program():
    # E[nβK] at γ = 1 by long runs with a ladder from 0.1 to 10,000: 11.69 ± .02, 11.91 ± .02, 12.16 ± .06, 12.33 ± .04
    known = {30.0: (11.69, 0.02), 100.0: (11.91, 0.02), 1000.0: (12.16, 0.06), 10_000.0: (12.33, 0.04)}
    result = tempered(LinearNetwork((6, 5, 4, 5, 6), 2), tuple(known), ladders=24, sweeps=100)
    for mean, error, (value, known_error) in zip(result.means, result.std_errors, known.values(), strict=True):
        assert abs(mean - value) <= 4 * math.hypot(error, known_error)


def test_a_ladder_has_both_ends_and_neighbours_that_swap():
    rungs = ladder(100.0, 1e5, 6.5)
    assert rungs[0] == 100.0 and rungs[-1] == pytest.approx(1e5) and list(rungs) == sorted(rungs)
    assert ladder(1e5, 1e5, 6.5) == (1e5,)
    assert 0.1 < tempered(LinearNetwork((5, 3, 5), 0), rungs, ladders=4, sweeps=40).swap_rate < 0.5


def test_draws_are_the_same_from_the_same_seed():
    network = LinearNetwork((3, 2, 3), 1)
    first, second = (tempered(network, (10.0, 20.0), ladders=4, sweeps=20, draws=16) for _ in range(2))
    assert first.draws.shape == (16, network.anchor.numel())
    torch.testing.assert_close(first.draws, second.draws, rtol=0, atol=0)
