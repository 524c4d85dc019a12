"""How well a probe does on rows it has not seen, how sure that is, and how much of it is the probe's own doing.

Folds keep groups whole: rows that share a template or a subject never stand on both sides. Accuracy and AUROC are means over the folds of
several divisions. Two null models stand beside them:

    permuted labels   dealt among the groups, then everything fitted and scored anew: what a label without meaning scores (a rank p)
    control task      Hewitt & Liang 2019 (arXiv 1909.03368): every type (group) gets a random label, and folds are made across types, so
                      that what is held out has been met in training. Accuracy there is what a probe can know by heart; selectivity is the
                      labels' own accuracy on the same folds less that. Where no group has two rows there are no types, and the control is
                      rows with permuted labels.

The interval of an AUROC A is Newcombe's score interval (2006, Statistics in Medicine 25:559, method 5), which keeps width at A = 1, its
variance multiplied by REFITTING, for the fits vary too, and by the design effect of groups (the variance of A when whole groups are drawn
again, over that when rows are). Simulated coverage: tests/truth/probe.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .classifiers import Floats, Kind, Labels, auroc, fit
from .score_interval import auroc_interval

REFITTING = 1.5
"""Variance of a cross-validated AUROC over that of held-out scores alone: 1.3 to 1.6 for labels without meaning, less for a signal."""


class Score(NamedTuple):
    """Over held-out rows. `auroc_low` and `auroc_high` bound the AUROC at 95 %."""

    accuracy: float
    auroc: float
    auroc_low: float
    auroc_high: float
    control_accuracy: float
    """Mean over the control task's draws."""
    recurring_accuracy: float
    """Accuracy of the labels themselves on the control task's folds."""
    p: float
    """Rank of the first division's AUROC among those of permuted labels; NaN without any."""
    confusion: Labels
    """Held-out rows of the first division by true class and by the class that was read, (classes, classes)."""
    fold_aurocs: Floats
    """(repeats, folds); NaN where a fold lacks a class."""
    permuted: Floats
    """AUROC of each permutation; NaN where it could not be divided."""

    @property
    def selectivity(self) -> float:
        """Accuracy on recurring labels less that on control labels."""
        return self.recurring_accuracy - self.control_accuracy


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are scored: parts and divisions of cross-validation, draws of the control task, permutations of labels."""

    folds: int
    repeats: int
    controls: int
    permutations: int
    strength: float
    resamples: int
    seed: int


def folds_of(y: Labels, groups: Labels, folds: int, seed: int) -> list[tuple[Labels, Labels]]:
    """Train and test rows of each fold. Raises UserError for one class only, or fewer groups than folds."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

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
    if many == len(y):  # the same, in a tenth of the time
        split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y)
    else:
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y, groups)
    return [(train, test) for train, test in split if len(np.unique(y[train])) == len(labels) and len(test)]


def cross_validate(kind: Kind, x: Floats, y: Labels, groups: Labels, settings: ProbeSettings) -> Score:
    """Score a kind of probe on activations (n, d). Raises UserError where no fold can hold every class."""
    divisions = [divided(y, groups, settings.folds, settings.seed + 7919 * repeat) for repeat in range(settings.repeats)]
    divided_scores = [_held_out(kind, x, y, parts, settings) for parts in divisions]
    areas = np.array([held.aurocs for held in divided_scores])
    area = (
        float(np.nanmean(areas))
        if np.isfinite(areas).any()
        else auroc(divided_scores[0].scores[divided_scores[0].rows], y[divided_scores[0].rows])
    )
    first = divided_scores[0]
    permuted = np.array([_permuted(kind, x, y, groups, draw, settings) for draw in range(settings.permutations)])
    defined = permuted[np.isfinite(permuted)]
    own = _area(first, y)
    control, recurring = _control(kind, x, y, groups, settings)
    low, high = _interval(area, first.scores[first.rows], y[first.rows], groups[first.rows], settings)
    confusion = np.zeros((len(np.unique(y)),) * 2, np.int64)
    np.add.at(confusion, (y[first.rows], first.predicted[first.rows]), 1)
    return Score(
        float(np.mean([(held.predicted[held.rows] == y[held.rows]).mean() for held in divided_scores])),
        area,
        low,
        high,
        control,
        recurring,
        (1 + int((defined >= own).sum())) / (len(defined) + 1) if len(defined) else np.nan,
        confusion,
        areas,
        permuted,
    )


def divided(y: Labels, groups: Labels, folds: int, seed: int) -> list[tuple[Labels, Labels]]:
    """`folds_of`, of which some fold must be of use. Raises UserError where none is."""
    parts = folds_of(y, groups, folds, seed)
    if not parts:
        raise UserError(
            "no fold holds every class, because groups are of one class each", "give groups that mix classes, or leave them out"
        )
    return parts


class _Held(NamedTuple):
    predicted: Labels
    scores: Floats
    rows: Labels
    """Those that some probe was scored on."""
    aurocs: list[float]


def _held_out(kind: Kind, x: Floats, y: Labels, parts: list[tuple[Labels, Labels]], settings: ProbeSettings) -> _Held:
    classes = len(np.unique(y))
    predicted, scores = np.full(len(y), -1, np.int64), np.zeros((len(y), 1 if classes == 2 else classes))
    aurocs = [np.nan] * settings.folds
    for place, (train, test) in enumerate(parts):
        if len(np.unique(y[train])) < classes:
            continue
        probe = fit(kind, x[train], y[train], strength=settings.strength, seed=settings.seed)
        predicted[test], scores_here = probe.predict(x[test]), probe.scores(x[test])
        # folds are fitted apart: put their scores on one scale before rows of different folds are ranked against each other
        scores[test] = scores_here / max(float(np.abs(probe.scores(x[train])).mean()), 1e-12)
        if len(np.unique(y[test])) == classes:
            aurocs[place] = auroc(scores_here, y[test])
    return _Held(predicted, scores, np.flatnonzero(predicted >= 0), aurocs)


def _area(held: _Held, y: Labels) -> float:
    """The mean over folds, else over all rows scored; ½ where nothing was."""
    if np.isfinite(held.aurocs).any():
        return float(np.nanmean(held.aurocs))
    return auroc(held.scores[held.rows], y[held.rows]) if len(np.unique(y[held.rows])) > 1 else 0.5


def _permuted(kind: Kind, x: Floats, y: Labels, groups: Labels, draw: int, settings: ProbeSettings) -> float:
    """The AUROC of labels without meaning: the same for all places that a run probes, so that their largest can be taken draw by draw."""
    labels = permuted_labels(y, groups, np.random.default_rng([settings.seed, 3, draw]))
    try:
        parts = folds_of(labels, groups, settings.folds, settings.seed)
    except UserError:
        return np.nan
    return _area(_held_out(kind, x, labels, parts, settings), labels) if parts else np.nan


def permuted_labels(y: Labels, groups: Labels, rng: np.random.Generator) -> Labels:
    """Labels dealt anew: among groups where each has one label, else within groups."""
    names, first, number = np.unique(groups, return_index=True, return_inverse=True)
    if (y == y[first][number]).all():
        dealt: Labels = rng.permutation(y[first])[number]
        return dealt
    labels = y.copy()
    for group in range(len(names)):
        rows = np.flatnonzero(number == group)
        labels[rows] = rng.permutation(labels[rows])
    return labels


def _control(kind: Kind, x: Floats, y: Labels, groups: Labels, settings: ProbeSettings) -> tuple[float, float]:
    """Accuracy on the control task, mean over its draws, and the labels' own accuracy on its folds."""
    counts = np.bincount(np.unique(groups, return_inverse=True)[1])
    recur = bool((counts > 1).any())
    accuracies = []
    for draw in range(settings.controls + 1):
        rng = np.random.default_rng([settings.seed, 1, draw])
        labels = y if draw == 0 else _type_labels(y, groups, rng) if recur else rng.permutation(y)
        parts = _across_types(groups, settings.folds, rng) if recur else folds_of(labels, groups, settings.folds, settings.seed)
        held = _held_out(kind, x, labels, parts, settings)
        if len(held.rows):
            accuracies.append(float((held.predicted[held.rows] == labels[held.rows]).mean()))
        elif draw == 0:
            return np.nan, np.nan
    return float(np.mean(accuracies[1:])) if len(accuracies) > 1 else np.nan, accuracies[0]


def _type_labels(y: Labels, groups: Labels, rng: np.random.Generator) -> Labels:
    """A random label for each type, of the rows' frequencies and every class among them."""
    names, number = np.unique(groups, return_inverse=True)
    labels = rng.permutation(np.resize(rng.permutation(y), len(names)))
    classes = np.unique(y)
    labels[: len(classes)] = classes  # or a small draw could lack one
    drawn: Labels = rng.permutation(labels)[number]
    return drawn


def _across_types(groups: Labels, folds: int, rng: np.random.Generator) -> list[tuple[Labels, Labels]]:
    """Folds that part the rows of each type, one after another from a random fold on; a type of one row is trained on only."""
    part = np.full(len(groups), -1, np.int64)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        if len(rows) > 1:
            part[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    return [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(folds) if (part == fold).any()]


def _interval(area: float, scores: Floats, y: Labels, groups: Labels, settings: ProbeSettings) -> tuple[float, float]:
    classes = len(np.unique(y))
    positives = int((y == 1).sum()) if classes == 2 else max(1, len(y) // max(2, classes))
    spread = REFITTING * _design_effect(area, scores, y, groups, settings)
    # Newcombe's variance falls as 1/PM with the bracket growing as P + M: fewer rows of both classes multiply it
    low, high = auroc_interval(np.array([area]), max(1.0, positives / spread), max(1.0, (len(y) - positives) / spread))
    return float(low[0]), float(high[0])


def _design_effect(area: float, scores: Floats, y: Labels, groups: Labels, settings: ProbeSettings) -> float:
    """How much more an AUROC varies when whole groups are drawn than when rows are; at most the rows of a group."""
    rows_of = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    most = len(y) / len(rows_of)
    if most <= 1:
        return 1.0
    rng = np.random.default_rng([settings.seed, 2])
    spreads = []
    for units in (rows_of, [np.array([row]) for row in range(len(y))]):
        drawn = []
        for _ in range(settings.resamples):
            rows = np.concatenate([units[i] for i in rng.integers(0, len(units), len(units))])
            if len(np.unique(y[rows])) == len(np.unique(y)):
                drawn.append(auroc(scores[rows], y[rows]))
        spreads.append(float(np.var(drawn)) if len(drawn) > 1 else 0.0)
    return float(np.clip(spreads[0] / spreads[1], 1.0, most)) if spreads[1] > 0 else most
