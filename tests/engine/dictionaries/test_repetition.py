"""Which latents repeat from another start, and intervals over rows of text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp_tui_engine.dictionaries.evaluation import ratio_interval
from interp_tui_engine.dictionaries.repetition import repetition


def test_latents_are_paired_one_to_one() -> None:
    rows = torch.nn.functional.normalize(torch.randn(40, 24, generator=torch.Generator().manual_seed(0)), dim=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    other = rows[order].clone()
    other[:10] = torch.nn.functional.normalize(torch.randn(10, 24, generator=torch.Generator().manual_seed(2)), dim=1)
    alive = torch.ones(40, dtype=torch.bool)
    found = repetition(rows, other, alive, alive, seed=0)
    lost = set(order[:10].tolist())
    assert all((float(cosine) > 0.999) == (latent not in lost) for latent, cosine in enumerate(found.cosine))
    assert found.share >= 0.75 and found.mean > found.chance
    dead = alive.clone()
    dead[:20] = False
    assert not repetition(rows, rows, dead, alive, seed=0).cosine[:20].any()


def test_the_interval_of_a_ratio_covers_over_rows() -> None:
    """Rows of very different size, errors that go with them: the ratio of means, 30 rows at a time."""
    hits = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        below = rng.gamma(4.0, size=30)
        above = below * rng.gamma(8.0, 0.1 / 8, size=30)
        low, high = ratio_interval(above, below)
        assert low is not None and high is not None
        hits += low <= 0.1 <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.035)
    assert ratio_interval(np.ones(1), np.ones(1)) == (None, None)
