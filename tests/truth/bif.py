"""Influence: do error bars cover exact correlations of losses linear in Gaussian weights, and does the floor hold noise down?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from interp_tui_engine.estimators.bif_errors import errors, floor
from interp_tui_engine.estimators.bif_traces import standardised

from ._gaussian import draws, variances
from .outcome import Outcome

ROWS = 24
SETTINGS = ((4, 60, 5), (4, 200, 2), (2, 100, 5))
"""Chains, draws of each, steps from draw to draw."""
LR = 3e-4


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage over all pairs of texts, and runs in which any pair of independent texts is called clear."""
    seeds = 60 if quick else 600
    for chains, count, between in SETTINGS[: 1 if quick else None]:
        for quantity in ("correlation", "covariance"):
            yield _coverage(chains, count, between, quantity, seeds)
    for chains, count, factor in ((4, 60, 0.6), (4, 60, 0.0), (4, 60, 0.9), (1, 240, 0.6), (2, 30, 0.8))[: 1 if quick else None]:
        yield _false_positives(chains, count, factor, 100 if quick else 600)
    yield _power(60 if quick else 200)


def _losses(rng: np.random.Generator, chains: int, count: int, between: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses (text, chain x draw) of texts with gradients that share a direction, and their exact covariance."""
    gradients = np.random.default_rng(7).normal(size=(ROWS, 8)) + 0.8 * np.arange(8) / 8
    w = draws(rng, LR, chains, count, between)
    return (w @ gradients.T).transpose(2, 0, 1).reshape(ROWS, -1), gradients @ np.diag(variances(LR)) @ gradients.T


def _coverage(chains: int, count: int, between: int, quantity: str, seeds: int) -> Outcome:
    hits = trials = 0
    upper = np.triu_indices(ROWS, 1)
    for seed in range(seeds):
        losses, exact = _losses(np.random.default_rng(seed), chains, count, between)
        z, _ = standardised(losses[:, None].astype(np.float32), covariance=quantity == "covariance")
        found = errors(z[:, 0], chains, chains, correlation=quantity == "correlation")
        value = (z[:, 0] @ z[:, 0].T)[upper]
        low, high = found.interval(value, found.std_error[upper], found.ess[upper], correlation=quantity == "correlation")
        scale = np.sqrt(np.diag(exact))
        truth = (exact / np.outer(scale, scale) if quantity == "correlation" else exact)[upper]
        there = np.isfinite(low)
        hits, trials = hits + int(((low <= truth) & (truth <= high))[there].sum()), trials + int(there.sum())
    case = f"{quantity}, {chains} x {count} draws, {between} steps apart"
    return Outcome("bif", "coverage", case, hits, trials, 0.95, f"{seeds} seeds x {len(upper[0])} pairs")


def _false_positives(chains: int, count: int, factor: float, seeds: int) -> Outcome:
    """Independent AR(1) traces: runs with any pair above the floor."""
    hits = 0
    for seed in range(seeds):
        rng = np.random.default_rng(1000 + seed)
        x = np.empty((ROWS, chains, count))
        x[..., 0] = rng.normal(size=(ROWS, chains))
        for t in range(1, count):
            x[..., t] = factor * x[..., t - 1] + np.sqrt(1 - factor**2) * rng.normal(size=(ROWS, chains))
        z, _ = standardised(x.reshape(ROWS, 1, -1).astype(np.float32), covariance=False)
        found = floor(z[:, 0], chains, np.arange(ROWS), keep=False)
        hits += found is not None and found.clear_pairs > 0
    case = f"any of {ROWS * (ROWS - 1) // 2} pairs, AR(1) {factor:g}, {chains} x {count}"
    return Outcome("bif", "false positives", case, hits, seeds, 0.05)


def _power(seeds: int) -> Outcome:
    """One planted pair with correlation 0.5 among independent ones."""
    hits = 0
    for seed in range(seeds):
        x = np.random.default_rng(seed).normal(size=(ROWS, 240))
        x[1] = 0.5 * x[0] + np.sqrt(0.75) * x[1]
        z, _ = standardised(x[:, None].astype(np.float32), covariance=False)
        found = floor(z[:, 0], 4, np.arange(ROWS), keep=True)
        hits += found is not None and found.clear is not None and bool(found.clear[0, 1])
    return Outcome("bif", "power", "r = 0.5 in 4 x 60 draws", hits, seeds, None)
