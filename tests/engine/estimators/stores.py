"""Stores with losses made up for a test, or drawn from a law that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from interp_tui_engine.samplers import sgld
from interp_tui_engine.samplers.settings import SamplerConfig


def store(
    losses: Mapping[str, Any],
    init: float = 3.0,
    failed: Mapping[str, Any] | None = None,
    ids_seed: int = 0,
    start: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """A store with these losses, {obs: (chain, draw, row, position)}, and token rows to go with them.

    start: losses of the observed rows at w0, {obs: (row, position)}; without them it is a store as devinterp's.
    """
    rng = np.random.default_rng(ids_seed)
    found: dict[str, Any] = {}
    for obs, values in losses.items():
        chains, _, rows, positions = values.shape
        found[f"loss_{obs}"] = (("chain", "draw", f"batch_{obs}", "token_pos"), np.asarray(values, np.float32))
        found[f"input_ids_{obs}"] = ((f"batch_{obs}", "token"), rng.integers(0, 50, (rows, positions + 1)))
        found["init_loss"] = (("chain", "token_pos"), np.full((chains, positions), init, np.float32))
    for obs, values in (start or {}).items():
        found[f"init_loss_{obs}"] = ((f"batch_{obs}", "token_pos"), np.asarray(values, np.float32))
    return xr.DataTree(xr.Dataset(found, attrs={"failed_chains": dict(failed or {})}))


def noisy(
    seed: int, chains: int = 3, draws: int = 8, rows: int = 4, positions: int = 5, observables: tuple[str, ...] = ("pile", "code")
) -> dict[str, Any]:
    """Losses that share a cause, so that they are correlated."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(chains, draws, 1, 1))
    return {
        obs: (3 + 0.3 * cause * rng.normal(size=(1, 1, rows, positions)) + 0.1 * rng.normal(size=(chains, draws, rows, positions))).astype(
            np.float32
        )
        for obs in observables
    }


def gaussian_draws(
    h: torch.Tensor,
    keep: torch.Tensor | None,
    seed: int,
    *,
    n_beta: float,
    localization: float,
    lr: float,
    chains: int = 20,
    draws: int = 400,
) -> NDArray[np.float64]:
    """w (chain, draw, d) of SGLD on sum h w^2 / 2 around 0, a draw every ten steps, from its stationary law on."""
    config = SamplerConfig(lr=lr, n_beta=n_beta, localization=localization)
    generator = torch.Generator().manual_seed(seed)
    state, found = sgld.init(torch.zeros(chains, len(h)), config), []
    for step in range(200 + 10 * draws):
        noise = torch.randn(chains, len(h), generator=generator)
        state = sgld.step(state, h * state.weights, noise, torch.zeros(len(h)), keep, config)
        if step >= 200 and step % 10 == 0:
            found.append(state.weights.clone())
    return torch.stack(found, 1).double().numpy()
