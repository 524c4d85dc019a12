"""Cross-entropy of rows of logits, one row at a time in float64; in place of the Triton kernel where there is no triton."""

from __future__ import annotations

from torch import Tensor

CALLS: list[str] = []
"""Which of the two was called, in order."""


def losses(logits: Tensor, target: Tensor, out: Tensor) -> None:
    """out: lse(z) − z_target of each row."""
    CALLS.append("losses")
    for row, (z, chosen) in enumerate(zip(logits.double(), target.tolist(), strict=True)):
        out[row] = (z - z.max()).exp().sum().log() + z.max() - z[chosen]


def slopes_(logits: Tensor, target: Tensor, out: Tensor | None) -> None:
    """Logits -> p − onehot, in place."""
    CALLS.append("slopes")
    for row, chosen in enumerate(target.tolist()):
        z = logits[row].double()
        p = (z - z.max()).exp()
        if out is not None:
            out[row] = p.sum().log() + z.max() - z[chosen]
        p /= p.sum()
        p[chosen] -= 1.0
        logits[row] = p.float()
