"""The label-permutation null: how strong the strongest of all features looks when the labels mean nothing.

Labels are shuffled among held-out rows (texts, where they have several rows: per_text.py); for each shuffle the largest z over all features
is kept. A feature's family-wise p-value is the share of shuffles whose largest z reaches its own (Westfall & Young 1993, with the +1 of
Phipson & Smyth 2010).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64, Int64

from .column_store import FeatureColumn
from .split import Design

MOST_ROWS = 20_000
"""Rows that shuffles are made on; z is standardised, so that more would not change its distribution."""


class PermutationNull:
    """Collects the largest z of `count` label shuffles, one column at a time."""

    def __init__(self, design: Design, count: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 0x4E11])
        held = np.flatnonzero(design.held_out)
        if len(held) > MOST_ROWS:
            held = np.sort(rng.choice(held, MOST_ROWS, replace=False))
        self.count = count
        self.place: Int64[np.ndarray, " rows"] = np.full(len(design.positive), -1, dtype=np.int64)
        self.place[held] = np.arange(len(held))
        self.rows = len(held)
        labels = design.positive[held].astype(np.float32)
        self.positives = float(labels.sum())
        self.shuffled: Float32[np.ndarray, "rows shuffles"] = rng.permuted(np.repeat(labels[:, None], count, axis=1), axis=0)
        self.largest: Float64[np.ndarray, " shuffles"] = np.full(count, -np.inf)

    def add(self, z: Float64[np.ndarray, " shuffles"] | None) -> None:
        """Take one feature's z into the maxima."""
        if z is not None:
            np.maximum(self.largest, z, out=self.largest)

    def of(self, column: FeatureColumn, direction: int) -> Float64[np.ndarray, " shuffles"] | None:
        """One feature's z in each shuffle, in the direction it was given on the other rows; None for one that is constant."""
        place = self.place[column.rows]
        here = place >= 0
        place, values = place[here], column.values[here]
        ranks, implicit = centred_ranks(values, column.implicit, self.rows)
        variance = ((ranks**2).sum() + (self.rows - len(values)) * implicit**2) / (self.rows - 1)
        variance *= self.positives * (self.rows - self.positives) / self.rows
        if variance <= 0:
            return None
        sums = (ranks - implicit).astype(np.float32) @ self.shuffled[place] + implicit * self.positives
        z: Float64[np.ndarray, " shuffles"] = direction * sums / math.sqrt(variance)
        return z

    def p_values(self, z: Float64[np.ndarray, " features"]) -> Float64[np.ndarray, " features"]:
        """Family-wise p-values of the features' own z."""
        ordered = np.sort(self.largest)
        return (1 + self.count - np.searchsorted(ordered, z, side="left")) / (self.count + 1)

    def quantile(self, share: float) -> float:
        """The z that the strongest feature stays below in `share` of the shuffles."""
        finite = self.largest[np.isfinite(self.largest)]
        return float(np.quantile(finite, share)) if len(finite) else math.nan


def centred_ranks(values: Float32[np.ndarray, " entries"], implicit: float, rows: int) -> tuple[Float64[np.ndarray, " entries"], float]:
    """Mid-ranks less their mean (rows+1)/2 among `rows` values of which `entries` are given and the rest are `implicit`; and the rest's."""
    rest = rows - len(values)
    order = np.argsort(values)
    ordered = values[order]
    level = np.float32(implicit)
    below = int(np.searchsorted(ordered, level, side="left"))
    upto = int(np.searchsorted(ordered, level, side="right"))
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    first = first + np.where(ordered > level, rest, 0)
    last = last + np.where(ordered >= level, rest, 0)
    ranks = np.empty(len(values))
    ranks[order] = (first + last + 1) / 2 - (rows + 1) / 2
    return ranks, (below + upto + rest + 1) / 2 - (rows + 1) / 2
