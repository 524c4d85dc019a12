"""Setting chains against one another: what still goes together does so by chance."""

from __future__ import annotations

import numpy as np

SWAPS = 19
"""Exchanges whose largest value is exceeded by one more of its kind once in 20 tries."""
SEED = 0


def exchanges(chains: int, draws: int, count: int, seed: int = SEED) -> list[tuple[int, int]]:
    """`count` ways (by, shift) to set chains against those `by` places on, their draws `shift` on, around the end; never (0, 0).

    First the other chains as they are; then draws are shifted too, by a quarter of the chain at least where it meets itself.
    """
    rng = np.random.default_rng(seed)
    ways = [(by, 0) for by in range(1, chains)][:count]
    while len(ways) < count and draws > 3:
        by = int(rng.integers(1, chains)) if chains > 1 else 0
        least = 1 if by else draws // 4
        ways.append((by, int(rng.integers(max(1, least), draws - max(1, least) + 1))))
    return ways
