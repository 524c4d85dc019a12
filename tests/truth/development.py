"""Development: how often a training in which nothing changes has a stage named, how often a change is found, and do points' bars cover?

Checkpoints are samplings of losses whose law is known (`susceptibilities.py`); of each the covariance and χ of two kinds of data are
followed, as the kind follows them: two samplings of two chains, merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp_tui_engine.estimators.autocorrelation import MeanEstimate
from interp_tui_engine.estimators.susceptibilities import baseline, response
from interp_tui_engine.experiments.development.seeds import Error, error_of, half_width, merged
from interp_tui_engine.experiments.development.stages import quantities, stages

from . import susceptibilities as losses
from ._gaussian import draws
from .outcome import Outcome

SETTINGS = ((60, 5, 2), (100, 2, 2), (30, 2, 2), (30, 2, 3))
"""Draws of each of two chains, steps from draw to draw, samplings of a checkpoint. In 30 draws 2 steps apart few errors can be stated."""
CHECKPOINTS = 7
DATA = ("code", "facts")


def outcomes(quick: bool) -> Iterator[Outcome]:
    """The first setting alone in the short form."""
    for count, between, seeds in SETTINGS[: 1 if quick else None]:
        yield from _rates(count, between, seeds, 30 if quick else 300)


def _rates(count: int, between: int, seeds: int, trials: int) -> Iterator[Outcome]:
    named = found = inside = points = 0
    truth = float(losses.exact(1.0).covariance.mean())
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        rows = [merged([_sampling(rng, count, between) for _ in range(seeds)]) for _ in range(CHECKPOINTS)]
        names = list(dict.fromkeys(name for row in rows for name in row["headline"]))
        series = {name: [row["headline"].get(name) for row in rows] for name in names}
        freedom = [row["freedom"] for row in rows]
        named += bool(stages(series, freedom))
        found += _found(series, freedom)
        for name in (f"covariance part {data}" for data in DATA):
            for at, (value, error) in enumerate(zip(series[name], series.get(error_of(name), [None] * CHECKPOINTS), strict=True)):
                if value is not None and error is not None:
                    inside += abs(value - truth) <= half_width(Error(error, freedom[at].get(name, math.inf)))
                    points += 1
    case = f"{CHECKPOINTS} checkpoints, {seeds} x 2 x {count} draws, {between} steps apart"
    followed = len(quantities(series))
    yield Outcome("development", "false positives", f"any stage of {followed} flat quantities, {case}", named, trials, 0.05)
    yield Outcome("development", "power", f"a step of 8 median errors at its place, {case}", found, trials, None)
    stated = points / (trials * CHECKPOINTS * len(DATA))
    if stated > 0.1:  # the few that pass by chance where nearly none has one are those whose draws seem to vary too little
        yield Outcome("development", "coverage", f"points, {case}", inside, points, 0.95, f"{stated:.0%} of the points have a bar")


def _found(series: dict[str, list[float | None]], freedom: list[dict[str, float]]) -> bool:
    """Whether a step of eight median errors before the fourth checkpoint is named where it is."""
    moving = "covariance part code"
    errors = [error for error in series.get(error_of(moving), []) if error is not None]
    if not errors:
        return False
    step = 8 * float(np.median(errors))
    moved = [None if value is None else value + step * (at > 2) for at, value in enumerate(series[moving])]
    return any(stage.quantity == moving and stage.from_ == 2 for stage in stages({**series, moving: moved}, freedom))


def _sampling(rng: np.random.Generator, count: int, between: int) -> dict[str, Any]:
    """What the kind keeps of one sampling of a checkpoint."""
    headline: dict[str, float] = {}
    freedom: dict[str, float] = {}
    for data in DATA:
        whole, part = (losses.store(_weights(rng, count, between) * kept, 1.0) for kept in (1.0, np.sqrt(losses.KEPT)))
        answer = response(part, baseline(whole, "train", ["probe"]))
        for name, estimate in (("chi", answer.mean["probe"]), ("covariance", answer.mean_covariance["probe"])):
            headline[f"{name} part {data}"] = float(estimate.value)
            if estimate.std_error is not None:
                headline[f"{name} part {data}_std_error"] = float(estimate.std_error)
                freedom[f"{name} part {data}"] = _freedom(estimate)
    return {"headline": headline, "freedom": freedom, "reason": "", "state": "done"}


def _weights(rng: np.random.Generator, count: int, between: int) -> NDArray[np.float64]:
    return draws(rng, losses.LR, 2, count, between)


def _freedom(estimate: MeanEstimate) -> float:
    return max(1.0, min(estimate.freedom, estimate.ess - 1))
