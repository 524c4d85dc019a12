"""Our side of the SAE benches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp_tui_engine.dictionaries.dictionary import Dictionary
from interp_tui_engine.dictionaries.learner import Learner
from interp_tui_engine.dictionaries.names import Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.schedule import Schedule
from interp_tui_engine.dictionaries.weights import tied

from .sae_work import Bench, Trainer, fvu_l0


class Ours(Trainer):
    """A Learner with AuxK as train_sae makes it."""

    def __init__(
        self,
        *,
        architecture: str,
        width: int,
        latents: int,
        k: int,
        lr: float,
        l1: float,
        sample: Tensor,
        batch: int,
        steps: int = 0,
        seed: int = 0,
    ) -> None:
        chosen = build(architecture, latents, Sparsity(k, l1, 1.0, 2.0, 1.0, 2))  # type: ignore[arg-type]
        schedule = Schedule(steps, lr, steps // 20, steps // 5, steps // 5) if steps else Schedule(1, lr, 0, 0, 0)
        self._learner = Learner(
            chosen,
            tied(latents, sample, torch.Generator().manual_seed(seed)),
            schedule,
            auxk_coefficient=1 / 32 if chosen.revives_dead else 0.0,
            k_aux=width // 2,
            dead_after=1000 * batch if not steps else 100 * batch,
        )

    def step(self, x: Tensor) -> None:
        self._learner.step(x)

    def finish(self) -> None:
        pass

    def measure(self, x: Tensor) -> tuple[float, float]:
        found = Dictionary(self._learner.architecture, self._learner.weights)
        return fvu_l0(x, found.encode(x), found.reconstruct(x))

    def decoder(self) -> Tensor:
        return self._learner.weights.decoder.detach()


def make(**settings: Any) -> Trainer:
    return Ours(**settings)


if __name__ == "__main__":
    Bench(make).serve()
