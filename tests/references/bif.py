"""Influences by the definition, one pair of tokens at a time."""

from __future__ import annotations

import numpy as np


def influence(losses, reduce="stack", covariance=False):
    """(row, row, position, position) from losses (chain, draw, row, position); NaN where a correlated loss never varies."""
    chains, _, rows, positions = losses.shape
    found = np.empty((rows, rows, positions, positions))

    def trace(row, position):
        here = losses[:, :, row, position].astype(np.float64)
        return here.mean(axis=0) if reduce == "mean" else np.concatenate([here[c] for c in range(chains)])

    for i in range(rows):
        for j in range(rows):
            for s in range(positions):
                for t in range(positions):
                    a, b = trace(i, s), trace(j, t)
                    product = sum((x - a.mean()) * (y - b.mean()) for x, y in zip(a, b, strict=True)) / (len(a) - 1)
                    if not covariance:
                        scale = a.std(ddof=1) * b.std(ddof=1)
                        product = product / scale if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan
                    found[i, j, s, t] = product
    return found
