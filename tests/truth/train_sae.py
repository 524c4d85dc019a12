"""A dictionary's numbers over held-out rows: do their intervals hold what all rows of such text would give?

Rows of text are drawn by the hundred from a pool whose value is known: 32 tokens of 16 directions, more alike within a row than between
rows. The dictionary is one of random rows, read at two of them a token; losses are made of a row's own level and of its squared error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from interp_tui_engine.dictionaries.evaluation import ratio_interval, squares_by_row
from interp_tui_engine.dictionaries.topk import TopK
from interp_tui_engine.dictionaries.weights import tied

from .outcome import Outcome

TOKENS, WIDTH, POOL = 32, 16, 4000


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage of FVU and of the loss recovered, by 20 and by 100 rows."""
    trials = 200 if quick else 2000
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(POOL, 1, WIDTH, generator=generator)
    pool = (centre + torch.randn(POOL, TOKENS, WIDTH, generator=generator)) * (0.5 + torch.rand(POOL, 1, 1, generator=generator))
    flat = pool.flatten(0, 1)
    weights = TopK(2).begin(tied(32, flat[:4096], generator))
    errors, spreads = squares_by_row(TopK(2), weights, flat, TOKENS)
    rng = np.random.default_rng(1)
    clean = rng.gamma(8.0, 3.0 / 8, POOL)
    zero, sae = clean + rng.gamma(4.0, 1.0, POOL), clean + 0.02 * errors / TOKENS + 0.05 * rng.normal(size=POOL)
    for name, above, below in (("FVU", errors, spreads), ("loss recovered", zero - sae, zero - clean)):
        value = float(above.sum() / below.sum())
        for rows in (20, 100):
            hits = 0
            for _ in range(trials):
                some = rng.choice(POOL, rows)
                low, high = ratio_interval(above[some], below[some])
                assert low is not None and high is not None
                hits += low <= value <= high
            yield Outcome("train_sae", "coverage", f"{name} over {rows} rows", hits, trials, 0.95, f"true {value:.3f}")
