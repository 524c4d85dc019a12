"""What is wrong with a training run, as early as it shows."""

from __future__ import annotations

import math

from .learner import Running

MANY_DEAD = 0.3
"""Share of dead latents past which a dictionary wastes its width; published runs end below a tenth (Gao et al. 2024, fig. 15)."""
DENSE = 0.25
"""Share of latents active at once past which codes are no longer sparse."""


def complaint(running: Running, *, latents: int, width: int, share_done: float) -> str | None:
    """The most telling thing wrong with the numbers, and what to change; None while there is nothing.

    `share_done`, 0 to 1, is how much of the training is done: what mends itself in the beginning is not a fault yet.
    """
    if share_done > 0.1 and running.l0 < 0.5:
        return f"collapsed: {running.l0:.2g} latents active a token; lower the sparsity coefficient"
    if share_done > 0.2 and running.l0 > DENSE * latents:
        return f"saturated: {running.l0:.0f} of {latents} latents active a token; raise the sparsity coefficient, or lower k"
    if share_done > 0.2 and running.dead_fraction > MANY_DEAD:
        return (
            f"{running.dead_fraction:.0%} of the latents are dead: lower lr, use fewer latents, or give more tokens "
            f"({latents} latents for a width of {width})"
        )
    if share_done > 0.1 and math.isfinite(running.fvu) and running.fvu > 1:
        return f"worse than the mean: FVU {running.fvu:.2f}; lower lr"
    return None
