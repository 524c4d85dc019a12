"""A dictionary that is not trained: latents are the activations' own dimensions, those that vary most first.

interp-lab falls back on it where there is no torch (`method = "fallback"`). With x̄ the mean of the rows that are not held out:

    z_j = act(d_j · (x − x̄) − l1),   x̂ = x̄ + Σ_j z_j d_j

d_j is the unit vector of the dimension with the j-th largest mean square of x − x̄; latents beyond the width get random unit vectors.
Numbers of the weights are rounded to eight decimals, as its files hold them. Nothing is learnt: it tells nothing about features.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from jaxtyping import Float64

from .weights import Weights

Rows = Float64[np.ndarray, "n d"]
DECIMALS = 8


def held_out(rows: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the rows to take the mean of, and of those held out: at least one of two or more."""
    order = list(range(rows))
    if rows <= 1 or share <= 0:
        return order, []
    random.Random(seed).shuffle(order)
    count = max(1, min(round(rows * share), rows - 1))
    return sorted(order[count:]), sorted(order[:count])


def variance_axes(x_ND: Rows, latents: int, *, l1: float, share: float, seed: int) -> Weights:
    """The weights; encoder and decoder are one matrix. l1: what every latent's input is lowered by; share: of the rows, held out."""
    mean_D = x_ND[held_out(len(x_ND), share, seed)[0]].mean(0)
    ranked = np.argsort(-np.square(x_ND - mean_D).mean(0), kind="stable")[:latents]
    directions_MD = np.zeros((latents, x_ND.shape[1]))
    directions_MD[np.arange(len(ranked)), ranked] = 1.0
    draw = random.Random(seed)
    for direction_D in directions_MD[len(ranked) :]:
        direction_D[:] = [draw.gauss(0.0, 1.0) for _ in direction_D]
        direction_D /= np.linalg.norm(direction_D)
    matrix = torch.tensor(directions_MD.round(DECIMALS), dtype=torch.float32)
    return Weights(matrix, torch.full((latents,), -l1), matrix.clone(), torch.tensor(mean_D.round(DECIMALS), dtype=torch.float32))
