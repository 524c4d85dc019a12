"""How well a probe does on rows it has not seen, and how much of that is the probe's own doing.

Folds keep groups whole: rows that share a template or a subject never stand on both sides. The control task (Hewitt & Liang 2019, arXiv
1909.03368) gives every group, or every row without groups, a random label of the same frequencies. Selectivity is accuracy less control
accuracy: a probe that learns noise as well as it learns the labels has none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .classifiers import Floats, Kind, Labels, auroc, fit


class Score(NamedTuple):
    """Over held-out rows; the interval is the 95 % bootstrap one over groups (rows without groups)."""

    accuracy: float
    auroc: float
    auroc_low: float
    auroc_high: float
    control_accuracy: float
    confusion: Labels
    """Held-out rows by true class and by the class that was read, (classes, classes)."""

    @property
    def selectivity(self) -> float:
        return self.accuracy - self.control_accuracy


def folds_of(y: Labels, groups: Labels, folds: int, seed: int) -> list[tuple[Labels, Labels]]:
    """Train and test rows of each fold. Raises UserError for one class only, or fewer groups than folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels, counts = np.unique(y, return_counts=True)
    if len(labels) < 2:
        raise UserError(f"all {len(y)} labels are the same, so there is nothing to tell apart", "give rows of at least two classes")
    many = len(np.unique(groups))
    if many < folds or int(counts.min()) < folds:
        least = min(many, int(counts.min()))
        each = "row" if many == len(y) else "group"
        what = f"{many} {each}{'s' * (many != 1)}" if many < folds else f"{int(counts.min())} rows of the rarest class"
        hint = f"use folds = {least}, or give more {each}s" if least >= 2 else f"give more {each}s: at least two of each class"
        raise UserError(f"{what}, fewer than folds = {folds}", hint)
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y, groups)
    return [(train, test) for train, test in split if len(np.unique(y[train])) == len(labels) and len(test)]


def cross_validate(kind: Kind, x: Floats, y: Labels, groups: Labels, *, folds: int, strength: float, resamples: int, seed: int) -> Score:
    """Score a kind of probe on activations (n, d)."""
    parts = folds_of(y, groups, folds, seed)
    if not parts:
        raise UserError(
            "no fold holds every class, because groups are of one class each", "give groups that mix classes, or leave them out"
        )
    predicted, scores, held = _held_out(kind, x, y, parts, strength, seed)
    control = _control_labels(y, groups, seed)
    guessed, _, seen = _held_out(kind, x, control, parts, strength, seed)
    low, high = _interval(scores[held], y[held], groups[held], resamples, seed)
    accuracy = float((predicted[held] == y[held]).mean())
    confusion = np.zeros((len(np.unique(y)),) * 2, np.int64)
    np.add.at(confusion, (y[held], predicted[held]), 1)
    return Score(accuracy, auroc(scores[held], y[held]), low, high, float((guessed[seen] == control[seen]).mean()), confusion)


def _held_out(
    kind: Kind, x: Floats, y: Labels, parts: list[tuple[Labels, Labels]], strength: float, seed: int
) -> tuple[Labels, Floats, Labels]:
    classes = len(np.unique(y))
    predicted, scores = np.full(len(y), -1, np.int64), np.zeros((len(y), 1 if classes == 2 else classes))
    for train, test in parts:
        if len(np.unique(y[train])) < classes:
            continue
        probe = fit(kind, x[train], y[train], strength=strength, seed=seed)
        predicted[test], found = probe.predict(x[test]), probe.scores(x[test])
        # folds are fitted apart: put their scores on one scale before rows of different folds are ranked against each other
        scores[test] = found / max(float(np.abs(probe.scores(x[train])).mean()), 1e-12)
    return predicted, scores, np.flatnonzero(predicted >= 0)


def _control_labels(y: Labels, groups: Labels, seed: int) -> Labels:
    """Random labels of the same frequencies, one a group."""
    rng = np.random.default_rng([seed, 1])
    names = np.unique(groups)
    if len(names) == len(y):
        return rng.permutation(y)
    drawn = dict(zip(names.tolist(), rng.permutation(np.resize(y, len(names))), strict=True))
    labels: Labels = np.array([drawn[group] for group in groups.tolist()], np.int64)
    return labels if len(np.unique(labels)) == len(np.unique(y)) else rng.permutation(y)


def _interval(scores: Floats, y: Labels, groups: Labels, resamples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng([seed, 2])
    rows_of = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    found = []
    for _ in range(resamples):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        if len(np.unique(y[rows])) == len(np.unique(y)):
            found.append(auroc(scores[rows], y[rows]))
    return (float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))) if found else (0.0, 1.0)
