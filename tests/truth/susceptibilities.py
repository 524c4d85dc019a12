"""Susceptibilities: do error bars cover the exact covariance, shift and chi of losses whose law is known, and do controls control?

L = g.w + sum h w² / 2 on the rows observed, token losses t.w, w Gaussian with the variances of SGLD: all moments are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from interp_tui_engine.estimators.susceptibilities import baseline, response
from interp_tui_engine.estimators.susceptibility_controls import shuffled, token_floor

from ._gaussian import CURVATURES, draws, variances
from .outcome import Outcome

LR = 3e-4
SETTINGS = ((4, 60, 5, 1.0), (4, 200, 2, 1.0), (2, 100, 5, 1.0), (4, 200, 5, 0.05))
"""Chains, draws of each, steps from draw to draw, and what GRADIENT is multiplied by: at 0.05 the rise of L stands clear of its noise, and
half of L's variance is curvature's."""
KEPT = np.array([1, 1, 1, 0, 0, 1, 0, 1.0])
"""The directions that the restriction lets move."""
GRADIENT = np.array([0.8, -0.5, 0.3, 0.6, -0.2, 0.1, 0.4, -0.6])
TOKENS = np.random.default_rng(11).normal(size=(4, 3, 8)) + 0.5 * GRADIENT
"""Gradients of the losses of 4 rows of 3 tokens."""


class Exact(NamedTuple):
    """By token."""

    covariance: NDArray[np.float64]
    shift: NDArray[np.float64]


def exact(steep: float) -> Exact:
    """From the moments of Gaussian weights; cubes vanish."""
    all_, part = variances(LR), variances(LR) * KEPT
    rise, whole = float((CURVATURES * part).sum()) / 2, float((CURVATURES * all_).sum()) / 2
    covariance = (steep * GRADIENT - TOKENS) @ (part * steep * GRADIENT) + float((CURVATURES**2 * part**2).sum()) / 2
    return Exact(covariance, np.full(covariance.shape, rise * (rise - whole)))


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage of means and of tokens; runs with any token above the floor, or a mean outside its control, where there is nothing."""
    for chains, count, between, steep in SETTINGS[: 1 if quick else None]:
        yield from _coverage(chains, count, between, steep, 60 if quick else 600)
    yield _floor(60 if quick else 600)
    yield _shuffle(200 if quick else 2000)


def store(w: NDArray[np.float64], steep: float) -> xr.Dataset:
    loss = steep * (w @ GRADIENT) + (CURVATURES * w**2).sum(-1) / 2
    tokens = np.einsum("cnd,rpd->cnrp", w, TOKENS)
    chains, positions = len(w), TOKENS.shape[1]
    everywhere = np.broadcast_to(loss[:, :, None, None], (*loss.shape, 1, positions))
    return xr.Dataset(
        {
            "loss_train": (("chain", "draw", "batch_train", "token_pos"), everywhere.astype(np.float32)),
            "loss_probe": (("chain", "draw", "batch_probe", "token_pos"), tokens.astype(np.float32)),
            # init_loss is that of other rows: 0.8 nats of difference must not matter
            "init_loss": (("chain", "token_pos"), np.full((chains, positions), 0.8, np.float32)),
            "init_loss_train": (("batch_train", "token_pos"), np.zeros((1, positions), np.float32)),
        }
    )


def _coverage(chains: int, count: int, between: int, steep: float, seeds: int) -> Iterator[Outcome]:
    truth = exact(steep)
    hits = {name: [0, 0] for name in ("mean covariance", "mean shift", "mean chi", "token covariance", "token shift")}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        full = baseline(store(draws(rng, LR, chains, count, between), steep), "train", ["probe"])
        found = response(store(draws(rng, LR, chains, count, between) * np.sqrt(KEPT), steep), full)
        means = {"covariance": found.mean_covariance, "shift": found.mean_shift, "chi": found.mean}
        for name, estimates in means.items():
            want = {"covariance": truth.covariance, "shift": truth.shift, "chi": truth.covariance + truth.shift}[name].mean()
            if (ends := estimates["probe"].interval()) is not None:
                hits[f"mean {name}"][0] += ends[0] <= want <= ends[1]
                hits[f"mean {name}"][1] += 1
        for name, tokens, want in (("covariance", found.covariance, truth.covariance), ("shift", found.shift, truth.shift)):
            error = tokens["probe"].std_error
            if error is not None:
                hits[f"token {name}"][0] += int((np.abs(tokens["probe"].value - want) <= 1.98 * error).sum())
                hits[f"token {name}"][1] += want.size
    for name, (inside, trials) in hits.items():
        case = f"{name}, {chains} x {count} draws, {between} steps apart, gradient x {steep:g}"
        yield Outcome("susceptibilities", "coverage", case, inside, trials, 0.95)


def _floor(seeds: int) -> Outcome:
    """Tokens whose losses are independent of phi: runs with any above the floor."""
    hits = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        samples = store(draws(rng, LR, 4, 60, 5), 1.0)
        noise = np.einsum("cnd,drp->cnrp", draws(rng, LR, 4, 60, 5), rng.normal(size=(8, 20, 3)))
        dims = ("chain", "draw", "batch_probe", "token_pos")
        samples = samples.drop_vars("loss_probe").assign(loss_probe=(dims, noise.astype(np.float32)))
        level, found = token_floor(samples, "train", ["probe"])
        hits += bool((np.abs(found["probe"]) > level).any())
    return Outcome("susceptibilities", "false positives", "any of 60 tokens above the floor, 4 x 60 draws", hits, seeds, 0.05)


def _shuffle(seeds: int) -> Outcome:
    """Two kinds of data that are alike: means outside the interval of shuffled rows."""
    hits = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rows = rng.standard_t(3, size=(40, 1)) + 0.3 * rng.standard_t(3, size=(40, 8))  # tokens of a row respond alike, with long tails
        values = {"one": rows[:16], "two": rows[16:]}
        control = shuffled(values, seed=seed)["one"]
        hits += control is not None and control.excludes(float(rows[:16].mean()))
    return Outcome("susceptibilities", "false positives", "a mean outside its shuffled rows", hits, seeds, 0.05)
