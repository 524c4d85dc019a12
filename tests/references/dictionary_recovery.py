"""How much of a known dictionary has been found."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def mean_max_cosine(truth_KD: Float[Tensor, "k d"], found_MD: Float[Tensor, "m d"]) -> float:
    """MCC: for each true feature the largest cosine with any found one, averaged over the true features (Sharkey et al. 2022).

    Signed, as codes are not negative: a feature pointing backwards is not found.
    """
    truth = torch.nn.functional.normalize(truth_KD.double(), dim=1)
    found = torch.nn.functional.normalize(found_MD.double(), dim=1)
    return float((truth @ found.T).max(dim=1).values.mean())
