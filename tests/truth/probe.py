"""Probes of noise and of signal: does the AUROC's interval cover, and how often is a label that means nothing read?

Noise has no label to read, so that its AUROC is ½. A signal's is what probes fitted to as many rows reach on 4,000 new ones. Labels
by identity are one random label a subject, in texts of several templates, without groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from interp_tui_engine.experiments.probe.report import MEASURES, chosen_among
from interp_tui_engine.probes.classifiers import Floats, Labels, auroc, fit
from interp_tui_engine.probes.evaluate import ProbeSettings, cross_validate
from interp_tui_engine.probes.recurrence import recurrence

from . import record
from .outcome import Outcome

CODE = ("probes",)
"""Folders of the engine that the numbers follow from, for a record."""
WIDTH, PLACES = 32, 4
SETTINGS = ProbeSettings(folds=5, repeats=3, controls=1, permutations=20, strength=1.0, resamples=50, seed=0)


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage for noise and two signals; false positives of the best of several places, by noise and by identity; power."""
    trials = 30 if quick else 300
    for rows in (60,) if quick else (40, 100, 200):
        for name, gap in (("noise", 0.0), ("a weak signal", 1.0), ("a signal", 2.5)):
            yield _coverage(name, rows, gap, trials)
    searched = 6 if quick else 300
    for name, gap in (("noise", 0.0), ("a signal in one place", 2.5)):
        hits = sum(record.each(f"probe, best of {PLACES}, {name}", range(searched), partial(_best, gap), CODE))
        what = "power" if gap else "false positives"
        yield Outcome("probe", what, f"best of {PLACES} places, {name}", hits, searched, None if gap else 0.05)
    hits = sum(record.each("probe, identity", range(searched), _identity, CODE))
    yield Outcome("probe", "false positives", "a random label a subject, 4 templates, no groups", hits, searched, 0.05)


def _best(gap: float, seed: int) -> bool:
    return _called(_places(80, gap, seed), *_labels(80, seed))


def _draw(rows: int, gap: float, rng: np.random.Generator) -> tuple[Floats, Labels]:
    y = np.arange(rows) % 2
    x = rng.normal(size=(rows, WIDTH))
    x[:, 3] += gap * (y - 0.5)
    return x, y


def _coverage(name: str, rows: int, gap: float, trials: int) -> Outcome:
    settings = ProbeSettings(5, 3, 1, 0, 1.0, 50, 0)
    fresh, labels = _draw(4000, gap, np.random.default_rng(999))
    intervals, true = [], []
    for seed in range(trials):
        x, y = _draw(rows, gap, np.random.default_rng([1, rows, seed]))
        found = cross_validate("ridge", x, y, np.arange(rows), settings)
        intervals.append((found.auroc_low, found.auroc_high))
        part = rows * 4 // 5  # as many as a fold is fitted to
        true.append(auroc(fit("ridge", x[:part], y[:part], strength=1.0, seed=0).scores(fresh), labels))
    value = float(np.mean(true)) if gap else 0.5
    hits = sum(low <= value <= high for low, high in intervals)
    return Outcome("probe", "coverage", f"AUROC of {name}, {rows} rows", hits, trials, 0.95, f"true {value:.3f}")


def _labels(rows: int, seed: int) -> tuple[Labels, Labels]:
    y: Labels = np.random.default_rng([2, seed]).permutation(np.arange(rows) % 2)
    return y, np.arange(rows)


def _places(rows: int, gap: float, seed: int) -> list[Floats]:
    rng = np.random.default_rng([3, seed])
    places = [rng.normal(size=(rows, WIDTH)) for _ in range(PLACES)]
    places[1][:, 0] += gap * (_labels(rows, seed)[0] - 0.5)
    return places


def _called(places: list[Floats], y: Labels, groups: Labels) -> bool:
    scores = [cross_validate("ridge", x, y, groups, SETTINGS) for x in places]
    table = np.array([[[getattr(score, name) for name in MEASURES] for score in scores]])
    folds, permuted = (np.array([[getattr(score, name) for score in scores]]) for name in ("fold_aurocs", "permuted"))
    p = chosen_among(table, folds, permuted).family_p
    return p is not None and p <= 0.05


def _identity(seed: int) -> bool:
    rng = np.random.default_rng([4, seed])
    subjects, wordings = 24, ("The capital of {} is", "The language of {} is", "The currency of {} is", "The flag of {} is")
    texts = [wording.format(f"Country{i}") for i in range(subjects) for wording in wordings]
    y = np.repeat(rng.permutation(np.arange(subjects) % 2), len(wordings))
    of_subject, of_wording = rng.normal(size=(subjects, WIDTH)), rng.normal(size=(len(wordings), WIDTH))
    x = np.repeat(of_subject, len(wordings), axis=0) + np.tile(of_wording, (subjects, 1)) + 0.3 * rng.normal(size=(len(y), WIDTH))
    return _called([x], y, recurrence(texts, y, None).groups)
