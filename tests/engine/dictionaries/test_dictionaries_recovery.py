"""Dictionaries that are known: unit features in fewer dimensions, each on with probability p. Every architecture must find them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp_tui_engine.dictionaries.evaluation import evaluate, rate_histogram
from interp_tui_engine.dictionaries.health import complaint
from interp_tui_engine.dictionaries.learner import Learner, Running
from interp_tui_engine.dictionaries.names import NAMES, Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.schedule import Schedule
from interp_tui_engine.dictionaries.stream import Held
from interp_tui_engine.dictionaries.weights import tied
from references.dictionary_recovery import mean_max_cosine

FEATURES, WIDTH, ON = 48, 24, 0.05
STEPS, BATCH = 900, 256


@pytest.fixture(scope="module")
def known() -> tuple[Tensor, Tensor]:
    """True features (48, 24), and 20,000 inputs scaled to mean norm √24."""
    g = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=g), dim=1)
    x = ((torch.rand(20_000, FEATURES, generator=g) < ON) * (torch.rand(20_000, FEATURES, generator=g) + 0.5)) @ features
    return features, x * WIDTH**0.5 / x.norm(dim=1).mean()


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_recovers_a_known_dictionary(name: str, known: tuple[Tensor, Tensor]) -> None:
    features, x = known
    latents = 2 * FEATURES if name == "matryoshka" else FEATURES
    architecture = build(name, latents, Sparsity(k=3, l1=5.0 if name == "gated" else 2.5, l0=1.0, bandwidth=2.0, threshold=1.0, prefixes=2))  # type: ignore[arg-type]
    learner = Learner(
        architecture,
        tied(latents, x[:1000], torch.Generator().manual_seed(1)),
        Schedule(STEPS, 4e-3, 50, 200, 200),
        auxk_coefficient=1 / 32 if architecture.revives_dead else 0.0,
        k_aux=WIDTH // 2,
        dead_after=10_000,
    )
    stream = Held(x[:18_000], seed=0)
    for _ in range(STEPS):
        learner.step(stream.take(BATCH))
    quality = evaluate(architecture, learner.weights, [x[18_000:]])
    assert mean_max_cosine(features, learner.weights.decoder) >= 0.9
    assert quality.fvu < 0.3
    if name not in ("relu", "gated"):  # an L1 has no target
        assert quality.l0 == pytest.approx(3, abs=0.75)


def test_mean_max_cosine_by_hand() -> None:
    truth = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert mean_max_cosine(truth, truth.flip(0)) == pytest.approx(1)
    assert mean_max_cosine(truth, torch.tensor([[1.0, 1.0], [-1.0, 0.0]])) == pytest.approx(0.5**0.5)


def test_rate_histogram() -> None:
    edges, counts, never = rate_histogram(torch.tensor([0.0, 1000.0, 12.0, 0.0, 2.0]), 1000)
    assert never == 2 and sum(counts) == 3
    assert counts[-1] == 1  # fires always: log10 = 0
    bin_of = [sum(edge <= value for edge in edges) - 1 for value in (-1.92, -2.70)]
    assert all(counts[index] == 1 for index in bin_of)


def test_what_is_wrong_is_said_early_but_not_at_once() -> None:
    def running(**changes: float) -> Running:
        values = {"tokens": 1000, "loss": 1.0, "fvu": 0.2, "l0": 8.0, "dead_fraction": 0.0, "never_fired": 0} | changes
        return Running(**values)  # type: ignore[arg-type]

    def said(share: float = 0.5, **changes: float) -> str:
        return complaint(running(**changes), latents=64, width=16, share_done=share) or ""

    assert said() == ""
    assert "raise the sparsity" in said(l0=30.0) and "lower the sparsity" in said(l0=0.1)
    assert "50% of the latents are dead" in said(dead_fraction=0.5) and said(0.05, dead_fraction=0.5) == ""
    assert "worse than the mean" in said(fvu=1.5)
