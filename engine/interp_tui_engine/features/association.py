"""How a feature goes with a criterion: AUROC and correlation on held-out rows, with intervals and p-values. Absent features count as 0.

AUROC is the probability that the feature is larger on a positive row than on a negative one, ties counting half (Mann-Whitney's U/PM). Its
direction (does the feature rise or fall with the criterion?) is fixed on the other rows, so that a held-out AUROC below ½ means that the
association did not hold up. Everything is computed from tie groups: a sparse feature costs what its entries cost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt32

from .column_store import FeatureColumn
from .split import FOLDS, Design

SPARSE_EXPECTED = 10.0
"""Below so many expected positive (or negative) entries the normal tail is too thin and the exact hypergeometric one is taken as well."""


class Groups(NamedTuple):
    """A column's values in ascending order, equal ones together: how many positives and negatives hold each value."""

    positive: Float64[np.ndarray, " values"]
    negative: Float64[np.ndarray, " values"]
    absent: int
    """Rows at the implicit value, entries that hold it among them."""


class Association(NamedTuple):
    """One feature against one criterion."""

    auroc: float
    """On held-out rows, in the feature's direction; NaN where they are all of one class."""
    fitted: float
    """On the rows that fixed the direction; at least ½."""
    direction: int
    """+1 where the feature rises with the criterion, −1 where it falls."""
    z: float
    """(U − E U)/σ on held-out rows in the feature's direction, σ exact for ties."""
    p: float
    """One-sided p-value of no association, since the direction was fixed elsewhere; 1 for a feature that is constant."""
    correlation: float
    """Pearson's r with the graded score on held-out rows, signed; 0 for a constant feature."""
    fires: int
    """Held-out rows on which the feature is not absent or 0."""


def associate(column: FeatureColumn, design: Design) -> Association:
    """The association of one column."""
    fit = ~design.held_out
    direction = 1
    fitted = 0.5
    if fit.any():
        groups = tie_groups(column, fit, design.positive)
        area = auroc(groups)
        direction = 1 if area >= 0.5 else -1
        fitted = max(area, 1 - area)
    groups = tie_groups(column, design.held_out, design.positive)
    area = auroc(groups)
    z = standardised(groups)
    fires = int((groups.positive + groups.negative).sum()) - groups.absent
    if not fit.any():
        direction = 1 if area >= 0.5 else -1
        fitted = max(area, 1 - area)
    z *= direction
    return Association(
        auroc=area if direction > 0 else 1 - area,
        fitted=fitted,
        direction=direction,
        z=z,
        p=p_value(z, groups, column, design, fires, direction, both_sides=not fit.any()),
        correlation=correlation(column, design),
        fires=fires,
    )


def tie_groups(column: FeatureColumn, chosen: Bool[np.ndarray, " rows"], positive: Bool[np.ndarray, " rows"]) -> Groups:
    """The tie groups of the chosen rows; those without an entry are one group, at the implicit value."""
    here = chosen[column.rows]
    if here.all():
        rows, values = column.rows, column.values
    else:
        rows, values = column.rows[here], column.values[here]
    # value and class in one whole number, in an order that is theirs: sorting those is several times quicker than sorting places
    keys = np.sort((_ordered(values).astype(np.uint64) << np.uint64(1)) | positive[rows])
    total = int(chosen.sum())
    positives = int((chosen & positive).sum())
    level = keys >> np.uint64(1)
    starts = np.flatnonzero(np.concatenate(([True], level[1:] != level[:-1]))) if len(keys) else np.zeros(0, dtype=np.int64)
    sizes = np.diff(np.concatenate((starts, [len(keys)])))
    of_positive = np.add.reduceat((keys & np.uint64(1)).astype(np.float64), starts) if len(keys) else np.zeros(0)
    of_negative = sizes - of_positive
    rest = total - len(keys)
    implicit = _ordered(np.array([column.implicit], dtype=np.float32)).astype(np.uint64)[0]
    at = int(np.searchsorted(level[starts], implicit))
    held = at < len(starts) and level[starts[at]] == implicit
    spare = positives - of_positive.sum()
    if rest and held:
        of_positive[at] += spare
        of_negative[at] += rest - spare
    elif rest:
        of_positive = np.insert(of_positive, at, spare)
        of_negative = np.insert(of_negative, at, rest - spare)
    absent = int(of_positive[at] + of_negative[at]) if rest or held else 0
    return Groups(of_positive, of_negative, absent)


def _ordered(values: Float32[np.ndarray, " entries"]) -> UInt32[np.ndarray, " entries"]:
    """Whole numbers in the order of the floats: the bits of a positive float already are; those of a negative one count backwards."""
    bits = (values + np.float32(0.0)).view(np.uint32)  # + 0 makes -0 and 0 one value
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def auroc(groups: Groups) -> float:
    """Σ_g p_g (n below g + n_g/2) / PM; NaN where a class is empty."""
    positives, negatives = groups.positive.sum(), groups.negative.sum()
    if positives == 0 or negatives == 0:
        return math.nan
    below = np.cumsum(groups.negative) - groups.negative / 2
    return float((groups.positive * below).sum() / (positives * negatives))


def standardised(groups: Groups) -> float:
    """z of Mann-Whitney's U with its exact variance under permutation: PM/12·[(N+1) − Σ(t³−t)/(N(N−1))]; 0 for a constant."""
    positives, negatives = groups.positive.sum(), groups.negative.sum()
    total = positives + negatives
    sizes = groups.positive + groups.negative
    if positives == 0 or negatives == 0 or len(sizes) < 2:
        return 0.0
    variance = positives * negatives / 12 * ((total + 1) - (sizes**3 - sizes).sum() / (total * (total - 1)))
    area = auroc(groups)
    return float((area - 0.5) * positives * negatives / math.sqrt(variance)) if variance > 0 else 0.0


def p_value(z: float, groups: Groups, column: FeatureColumn, design: Design, fires: int, direction: int, *, both_sides: bool) -> float:
    """The normal tail of z. Where a feature fires on few rows of the rarer class, not below the exact tail of its firing counts."""
    from scipy.special import ndtr

    sides = 2.0 if both_sides else 1.0
    if len(groups.positive) < 2:
        return 1.0
    p = min(1.0, sides * float(ndtr(-abs(z) if both_sides else -z)))
    positives, total = float(groups.positive.sum()), float((groups.positive + groups.negative).sum())
    rare = min(positives, total - positives) / total
    if min(fires, total - fires) * rare < SPARSE_EXPECTED and 0 < fires < total:
        from scipy.stats import hypergeom

        firing_rows = column.values != column.implicit
        firing_rows &= design.held_out[column.rows]
        entries = column.rows[firing_rows]
        firing = int(design.positive[entries].sum())
        above = column.values[firing_rows].mean() > column.implicit
        upper = (direction > 0) == above  # then positives should fire more than their share
        tail = hypergeom.sf(firing - 1, total, positives, fires) if upper else hypergeom.cdf(firing, total, positives, fires)
        p = max(p, min(1.0, sides * float(tail)))
    return p


def correlation(column: FeatureColumn, design: Design) -> float:
    """Pearson's r on held-out rows, from sums of values less their offset: no large number is ever squared."""
    here = design.held_out[column.rows]
    rows, values = column.rows[here], column.values[here].astype(np.float64)
    scores = design.score[design.held_out]
    count, absent = len(scores), len(scores) - len(values)
    score_mean = scores.mean()
    mean = (values.sum() + absent * column.implicit) / count
    spread = ((values - mean) ** 2).sum() + absent * (column.implicit - mean) ** 2
    centred = design.score[rows] - score_mean
    # Σ(x−x̄)(y−ȳ): entries as they are; absent rows share x, and their y−ȳ sum to minus that of the entries
    shared = ((values - mean) * centred).sum() - (column.implicit - mean) * centred.sum()
    score_spread = ((scores - score_mean) ** 2).sum()
    if spread <= 0 or score_spread <= 0:
        return 0.0
    return float(np.clip(shared / math.sqrt(spread * score_spread), -1.0, 1.0))


def fold_sums(column: FeatureColumn, design: Design) -> Float64[np.ndarray, "3 folds"]:
    """Σx, Σx², Σxy of each fold over all rows: what stability is computed from."""
    values, rows = column.values.astype(np.float64), column.rows
    folds = design.fold[rows]
    counts = np.bincount(design.fold, minlength=FOLDS)
    absent = counts - np.bincount(folds, minlength=FOLDS)
    all_scores = np.bincount(design.fold, weights=design.score, minlength=FOLDS)
    here = np.bincount(folds, weights=design.score[rows], minlength=FOLDS)
    implicit = column.implicit
    return np.stack(
        [
            np.bincount(folds, weights=values, minlength=FOLDS) + absent * implicit,
            np.bincount(folds, weights=values**2, minlength=FOLDS) + absent * implicit**2,
            np.bincount(folds, weights=values * design.score[rows], minlength=FOLDS) + (all_scores - here) * implicit,
        ]
    )


def correlation_interval(
    r: Float64[np.ndarray, " features"], count: int, confidence: float = 0.95
) -> tuple[Float64[np.ndarray, " features"], Float64[np.ndarray, " features"]]:
    """Fisher's: tanh(artanh r ± z/√(n−3)); the whole range below four rows."""
    from scipy.special import ndtri

    if count < 4:
        return np.full_like(r, -1.0), np.full_like(r, 1.0)
    centre = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    half = float(ndtri(0.5 + confidence / 2)) / math.sqrt(count - 3)
    return np.tanh(centre - half), np.tanh(centre + half)


def stability(
    sums: Float64[np.ndarray, "features 3 folds"], design: Design, seed: int, halves: int = 20
) -> Float64[np.ndarray, " features"]:
    """Agreement of a feature's correlation between random halves of the texts, averaged: 2ab/(a²+b²), at least 0.

    1 where both halves say the same, 0 where they disagree in sign or one says nothing.
    """
    rng = np.random.default_rng([seed, 0x57AB])
    counts = np.bincount(design.fold, minlength=FOLDS).astype(np.float64)
    score = np.bincount(design.fold, weights=design.score, minlength=FOLDS)
    squares = np.bincount(design.fold, weights=design.score**2, minlength=FOLDS)
    total = np.zeros(len(sums))
    for _ in range(halves):
        half = np.zeros(FOLDS, dtype=bool)
        half[rng.permutation(FOLDS)[: FOLDS // 2]] = True
        a, b = (
            _correlations(sums[:, :, part].sum(2), counts[part].sum(), score[part].sum(), squares[part].sum()) for part in (half, ~half)
        )
        size = a**2 + b**2
        total += np.maximum(0.0, np.divide(2 * a * b, size, out=np.zeros_like(size), where=size > 0))
    return total / halves


def _correlations(x: Float64[np.ndarray, "features 3"], count: float, score: float, squares: float) -> Float64[np.ndarray, " features"]:
    if count < 2:
        return np.zeros(len(x))
    shared = x[:, 2] - x[:, 0] * score / count
    spread = (x[:, 1] - x[:, 0] ** 2 / count) * (squares - score**2 / count)
    return np.divide(shared, np.sqrt(np.maximum(spread, 0)), out=np.zeros(len(x)), where=spread > 0)
