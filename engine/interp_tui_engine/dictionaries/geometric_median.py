"""The point with the least summed distance to all others: a centre that outliers do not move."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

STEPS = 100
TOLERANCE = 1e-6
"""Change of the point, in median distances, at which the iteration ends."""


def geometric_median(points_BD: Float[Tensor, "b d"]) -> Float[Tensor, " d"]:
    """argmin_c Σ_i ‖x_i − c‖ by Weiszfeld's iteration c ← Σ w_i x_i / Σ w_i, w_i = 1/‖x_i − c‖, from the mean.

    A point that c falls on would weigh infinitely much; distances are kept above 1e-6 of their median.
    """
    centre_D = points_BD.mean(0)
    for _ in range(STEPS):
        distance_B = (points_BD - centre_D).norm(dim=1)
        typical = distance_B.median()
        if not typical > 0:
            return centre_D
        weight_B = 1 / distance_B.clamp(min=1e-6 * float(typical))
        moved_D = (weight_B @ points_BD) / weight_B.sum()
        change = (moved_D - centre_D).norm()
        centre_D = moved_D
        if change <= TOLERANCE * typical:
            break
    return centre_D
