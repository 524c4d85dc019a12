"""Which latents of a dictionary another start finds too.

Two dictionaries of one architecture, trained on the same activations from different starts, explain them equally well and yet share only
some of their latents (Paulo & Belrose 2025, arXiv 2501.16615): what one of them has alone is as much the start's doing as the model's.
Latents are paired one to one by the cosine of their decoder rows; one repeats from REPEATS on.

Legend: M latents, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

REPEATS = 0.7
"""Cosine from which on two latents are taken for the same."""
EXACT = 4096
"""Latents up to which pairs have the largest total cosine; beyond, they are each other's nearest."""


class Repetition(NamedTuple):
    """`cosine` (M,) is each latent's with its partner, 0 where it has none or is dead."""

    cosine: Float[Tensor, " M"]
    share: float
    """Of the latents that are alive, those that repeat."""
    mean: float
    """Mean cosine of those alive."""
    chance: float
    """That mean, the partner's rows turned at random: what as many rows of as many dimensions give."""


def repetition(
    left_MD: Float[Tensor, "M D"],
    right_MD: Float[Tensor, "M D"],
    left_alive: Bool[Tensor, " M"],
    right_alive: Bool[Tensor, " M"],
    seed: int,
) -> Repetition:
    """How much of the left dictionary stands in the right one too."""
    left, right = (torch.nn.functional.normalize(rows.double().cpu(), dim=1) for rows in (left_MD, right_MD))
    here, there = left_alive.cpu(), right_alive.cpu()
    cosine = torch.zeros(len(left), dtype=torch.float64)
    if not bool(here.any()) or not bool(there.any()):
        return Repetition(cosine.float(), 0.0, 0.0, 0.0)
    cosine[here] = _paired(left[here] @ right[there].T)
    noise = torch.randn(left.shape[1], left.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = right[there] @ torch.linalg.qr(noise).Q
    alive = cosine[here]
    return Repetition(
        cosine.float(), float((alive >= REPEATS).double().mean()), float(alive.mean()), float(_paired(left[here] @ turned.T).mean())
    )


def _paired(cosine_LR: Float[Tensor, "L R"]) -> Float[Tensor, " L"]:
    """Each left row's cosine with the right one it is paired with, 0 without one."""
    paired = torch.zeros(cosine_LR.shape[0], dtype=cosine_LR.dtype)
    if max(cosine_LR.shape) <= EXACT:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(cosine_LR.numpy(), maximize=True)
        paired[rows] = cosine_LR[rows, columns]
        return paired.clamp_min(0.0)
    best, column = cosine_LR.max(1)
    mutual = cosine_LR.argmax(0)[column] == torch.arange(len(best))
    paired[mutual] = best[mutual]
    return paired.clamp_min(0.0)
