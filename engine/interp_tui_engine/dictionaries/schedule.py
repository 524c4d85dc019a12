"""How learning rate and sparsity pressure run over training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, a plateau, a linear fall to zero; the sparsity terms are warmed up by themselves.

    The fall matters: the last steps of a constant rate leave FVU several per cent higher. Pressure from the first step on would kill
    latents before they have found anything to represent.
    """

    steps: int
    lr: float
    warmup: int
    """Steps until the rate is reached."""
    decay: int
    """Steps at the end over which it falls to zero."""
    pressure_warmup: int
    """Steps until the sparsity terms count in full."""

    def rate(self, step: int) -> float:
        """Learning rate at a step, counted from 0."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        falling = min(1.0, (self.steps - step) / self.decay) if self.decay else 1.0
        return self.lr * min(rising, max(0.0, falling))

    def pressure(self, step: int) -> float:
        """Share of the sparsity terms that counts at a step."""
        return min(1.0, (step + 1) / self.pressure_warmup) if self.pressure_warmup else 1.0
