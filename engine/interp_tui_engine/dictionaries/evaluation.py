"""How well a dictionary, as it will be used, accounts for activations it has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..models.device import widest_float
from .architecture import Architecture, reconstruct
from .topk import fired
from .weights import Weights

LOWEST, HIGHEST, BINS = -6.0, 0.0, 24
"""The firing-rate histogram: decades of log10 of the rate, and how many bins they are cut into."""

ROUNDING = 1e-12
"""Share of Σ‖x‖² below which a variance is what float64 sums leave of nothing."""


class Quality(NamedTuple):
    """FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖² (1 is no better than the mean, NaN without variance), mean number of active latents, tokens of each."""

    fvu: float
    l0: float
    fired: Float[Tensor, " m"]
    tokens: int


@torch.no_grad()
def evaluate(architecture: Architecture, weights: Weights, batches: Iterable[Float[Tensor, "b d"]]) -> Quality:
    """Over all batches, codes made as at use. A dictionary that answers the mean has FVU 1; perfect is 0."""
    tokens = 0
    fired_M = torch.zeros(weights.latents, device=weights.encoder.device)
    double = widest_float(fired_M.device)
    # sums of float64, on the host where the device has none: no batch waits for it elsewhere
    here = fired_M.device if double == torch.float64 else torch.device("cpu")
    error, total, sum_D = (torch.zeros(shape, dtype=torch.float64, device=here) for shape in ((), (), (weights.width,)))
    for x_BD in batches:
        codes = architecture.encode(weights, x_BD)
        error += (x_BD - reconstruct(weights, codes)).square().sum(dtype=double).to(here)
        total += x_BD.to(here).double().square().sum()  # squares of float32 would round by more than a small variance
        sum_D += x_BD.sum(0, dtype=double).to(here)
        fired_M += fired(codes)
        tokens += x_BD.shape[0]
    variance = float(total - sum_D.square().sum() / max(1, tokens))
    varies = variance > ROUNDING * float(total)
    return Quality(float(error) / variance if varies else math.nan, float(fired_M.sum()) / max(1, tokens), fired_M, tokens)


@torch.no_grad()
def squares_by_row(
    architecture: Architecture, weights: Weights, held_ND: Float[Tensor, "n d"], tokens: int
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]:
    """Σ‖x − x̂‖² and Σ‖x − x̄‖² of each row of text, `tokens` activations a row: FVU is the ratio of their sums."""
    mean_D = held_ND.mean(0, dtype=widest_float(held_ND.device)).to(held_ND.dtype)
    errors: list[Float64[np.ndarray, " part"]] = []
    spreads: list[Float64[np.ndarray, " part"]] = []
    for x_BD in torch.split(held_ND, max(1, 4096 // tokens) * tokens):
        codes = architecture.encode(weights, x_BD)
        for values, into in ((x_BD - reconstruct(weights, codes), errors), (x_BD - mean_D, spreads)):
            into.append(values.square().sum(1).cpu().double().reshape(-1, tokens).sum(1).numpy())
    return np.concatenate(errors), np.concatenate(spreads)


def ratio_interval(
    above: Float64[np.ndarray, " rows"], below: Float64[np.ndarray, " rows"], confidence: float = 0.95
) -> tuple[float | None, float | None]:
    """Σ above / Σ below between further draws of as many rows: the jackknife over rows (Quenouille 1956), Student's t of n − 1.

    Rows of text are what is drawn; tokens of one row are alike. None below two rows and where the denominator vanishes.
    """
    count, total = len(above), float(below.sum())
    rest = total - below
    if count < 2 or total == 0.0 or not np.all(rest):
        return None, None
    from scipy.special import stdtrit

    left_out = (above.sum() - above) / rest
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    value, half = float(above.sum()) / total, float(stdtrit(count - 1, 0.5 + confidence / 2)) * error
    return value - half, value + half


def rate_histogram(fired_M: Float[Tensor, " m"], tokens: int) -> tuple[list[float], list[int], int]:
    """Latents by log10 of how often they fire: bin edges, counts, and how many never fired. Rarer than 1e-6 is in the first bin."""
    rates = (fired_M / max(1, tokens)).cpu().double()
    never = int((rates == 0).sum())
    logs = rates[rates > 0].log10().clamp(LOWEST, HIGHEST)
    counts = torch.histc(logs, BINS, LOWEST, HIGHEST)
    step = (HIGHEST - LOWEST) / BINS
    return [LOWEST + step * edge for edge in range(BINS + 1)], [int(count) for count in counts], never


def loss_recovered(clean: float, with_dictionary: float, ablated: float) -> float:
    """(CE_ablate − CE_sae) / (CE_ablate − CE_clean): 1 when the model notices nothing, 0 when the dictionary is as bad as no activation."""
    return (ablated - with_dictionary) / (ablated - clean) if ablated != clean else math.nan
