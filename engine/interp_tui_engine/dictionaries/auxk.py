"""AuxK: dead latents learn to explain what the live ones leave over (Gao et al. 2024, arXiv 2406.04093, app. A.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .weights import Weights


def auxk_error(
    weights: Weights, x_BD: Float[Tensor, "b d"], reconstruction_BD: Float[Tensor, "b d"], dead_M: Bool[Tensor, " m"], k_aux: int
) -> Float[Tensor, ""] | None:
    """Mean of ‖e − ê‖² over the batch, e = x − x̂ (no gradient) and ê = Σ of the k_aux largest dead latents' codes; None without dead ones.

    No b_dec in ê: it is in x̂ already. Products are over the dead latents only.
    """
    dead = dead_M.nonzero().squeeze(1)
    if dead.numel() == 0:
        return None
    residual_BD = (x_BD - reconstruction_BD).detach().float()
    hidden_BM = F.linear(x_BD - weights.b_dec.detach(), weights.encoder[dead], weights.b_enc[dead])
    if dead.numel() > k_aux:
        kept = hidden_BM.topk(k_aux, dim=1, sorted=False)
        hidden_BM = torch.zeros_like(hidden_BM).scatter(1, kept.indices, kept.values)
    explained_BD = hidden_BM.relu() @ weights.decoder[dead]
    return (residual_BD - explained_BD.float()).square().sum(1).mean()
