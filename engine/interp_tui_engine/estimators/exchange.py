"""Setting chains against one another: what still goes together does so by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

SWAPS = 19
"""Exchanges whose largest value is exceeded by one more of its kind once in 20 tries."""
SEED = 0
_TRIES = 400


class Exchange(NamedTuple):
    """Every chain is set against the chain `order` names, its draws from last to first if `reverse`, and `shift` on around the end."""

    order: tuple[int, ...]
    reverse: bool
    shift: int

    def of(self, series: Float[NDArray[np.floating], "*rest chain draw"]) -> NDArray[np.floating]:
        """The series, exchanged. Shape in and out: (..., chains, draws)."""
        exchanged = series[..., list(self.order), :]
        exchanged = exchanged[..., ::-1] if self.reverse else exchanged
        return np.roll(exchanged, self.shift, axis=-1) if self.shift else exchanged


def exchanges(chains: int, draws: int, count: int, seed: int = SEED) -> list[Exchange]:
    """`count` different exchanges in which no chain meets itself at the same time, or fewer where there are no more.

    First the other chains as they are, then in reverse (a stationary reversible chain is the same law either way), in as many orders as
    there are; then draws are shifted too, by a quarter of the chain at least where it meets itself. A shift joins a chain's end to its
    start, where draws are not neighbours, so it comes last.
    """
    rng = np.random.default_rng(seed)
    orders = [tuple((np.arange(chains) + by) % chains) for by in range(1, chains)]
    for _ in range(_TRIES if 3 < chains <= count else 0):
        order = tuple(rng.permutation(chains))
        if order not in orders and all(a != b for a, b in enumerate(order)):
            orders.append(order)
    named = [tuple(int(c) for c in order) for order in orders]
    ways = [Exchange(order, reverse, 0) for reverse in (False, True) for order in named][:count]
    least = 1 if named else draws // 4
    for _ in range(_TRIES if draws > 3 else 0):
        if len(ways) >= count:
            break
        order = named[int(rng.integers(len(named)))] if named else (0,)
        way = Exchange(order, False, int(rng.integers(max(1, least), draws - max(1, least) + 1)))
        way = way._replace(reverse=True) if way in ways else way
        if way not in ways:
            ways.append(way)
    return ways
