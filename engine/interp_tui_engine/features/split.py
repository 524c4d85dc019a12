"""Which rows a ranking is fitted on and which it is reported on. Rows of one text stay together, or the report would repeat the fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ..errors import UserError

FOLDS = 10


class Design(NamedTuple):
    """The rows' side of an association: their scores, classes, groups and splits.

    `score` (rows,) is as graded as the criterion is; `positive` its two classes; `group` numbers the texts; `held_out` marks the rows that
    numbers are reported on, the others fix each feature's direction; `fold` deals the held-out and fitted groups alike into parts.
    """

    score: Float64[np.ndarray, " rows"]
    positive: Bool[np.ndarray, " rows"]
    group: Int64[np.ndarray, " rows"]
    held_out: Bool[np.ndarray, " rows"]
    fold: Int64[np.ndarray, " rows"]

    @property
    def groups(self) -> int:
        """How many groups of rows there are."""
        return int(self.group.max()) + 1 if len(self.group) else 0


def design(
    scores: Float64[np.ndarray, " rows"], keys: Int64[np.ndarray, " rows"], *, threshold: float, held_out: float, seed: int
) -> Design:
    """Split rows by group, positives and negatives each in proportion. `keys` are equal for rows of one group.

    Raises UserError for a criterion that is constant, has no row of one class, or too few groups of one to split.
    """
    if scores.min() == scores.max():
        raise UserError(
            f"the criterion is constant: all {len(scores)} rows score {scores[0]:g}", "nothing can go with it; give rows that differ in it"
        )
    positive = scores > threshold
    if positive.all() or not positive.any():
        which = "positives" if not positive.any() else "negatives"
        low, high = float(scores.min()), float(scores.max())
        raise UserError(
            f"the criterion has no {which}: scores run from {low:g} to {high:g}, and positive means above {threshold:g}",
            "set params.positive_above between the two",
        )
    group = numbered(keys)
    count = int(group.max()) + 1
    is_positive = np.zeros(count, dtype=bool)
    is_positive[group[positive]] = True
    rng = np.random.default_rng([seed, 0x5B11])
    held, fold = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.int64)
    for members in (np.flatnonzero(is_positive), np.flatnonzero(~is_positive)):
        if held_out and len(members) < 2:
            what = "positive" if is_positive[members].any() else "negative"
            raise UserError(f"only {len(members)} {what} texts: a held-out split needs at least 2", "give more, or set held_out = 0")
        shuffled = rng.permutation(members)
        held[shuffled[: round(held_out * len(members)) or (1 if held_out else 0)]] = True
        fold[shuffled] = np.arange(len(members)) % FOLDS
    chosen = held[group] if held_out else np.ones(len(group), dtype=bool)
    return Design(scores, positive, group, chosen, fold[group])


def numbered(keys: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    """The keys as 0, 1, 2, … in the order they first appear: the same for any keys that are equal and differ alike."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[inverse].astype(np.int64)
