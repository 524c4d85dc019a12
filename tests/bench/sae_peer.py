"""The peer's side of the SAE benches: SAE Lens 6.54's own trainer. Runs inside the peer's environment."""

from __future__ import annotations

from typing import Any

import torch
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from .sae_work import Bench, Trainer, fvu_l0
from .side import device


def build(architecture: str, width: int, latents: int, k: int, l1: float, warm: int) -> Any:
    """The training SAE of that name, its own defaults but for what both sides are told."""
    match architecture:
        case "topk":
            return TopKTrainingSAE(TopKTrainingSAEConfig(d_in=width, d_sae=latents, k=k))
        case "batch_topk":
            return BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=width, d_sae=latents, k=k))
        case "relu":
            return StandardTrainingSAE(StandardTrainingSAEConfig(d_in=width, d_sae=latents, l1_coefficient=l1, l1_warm_up_steps=warm))
        case "gated":
            return GatedTrainingSAE(GatedTrainingSAEConfig(d_in=width, d_sae=latents, l1_coefficient=l1, l1_warm_up_steps=warm))
        case "jumprelu":
            config = JumpReLUTrainingSAEConfig(
                d_in=width, d_sae=latents, jumprelu_sparsity_loss_mode="quadratic", target_l0=k, l0_coefficient=float(k),
                jumprelu_bandwidth=2.0, jumprelu_init_threshold=1.0, l0_warm_up_steps=warm,
            )  # fmt: skip
            return JumpReLUTrainingSAE(config)
        case _:
            config = MatryoshkaBatchTopKTrainingSAEConfig(d_in=width, d_sae=latents, k=k, matryoshka_widths=[latents // 2])
            return MatryoshkaBatchTopKTrainingSAE(config)


class Peer(Trainer):
    """SAETrainer.step, with the schedule that both sides have."""

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
        torch.manual_seed(seed)
        self.sae = build(architecture, width, latents, k, l1, steps // 5).to(device())
        samples = batch * (steps or 1_000_000)
        config = SAETrainerConfig(
            total_training_samples=samples,
            train_batch_size_samples=batch,
            lr=lr,
            lr_end=lr / 10,
            lr_warm_up_steps=steps // 20,
            lr_decay_steps=steps // 5,
            device=device(),
            dead_feature_window=100 if steps else 1000,
            logger=LoggingConfig(log_to_wandb=False),
        )
        self._trainer = SAETrainer(config, self.sae, data_provider=iter(()))

    def step(self, x: Tensor) -> None:
        self._trainer.maybe_reset_sparsity()
        self._trainer.step(x)
        self._trainer.n_training_steps += 1

    def finish(self) -> None:
        pass

    @torch.no_grad()
    def measure(self, x: Tensor) -> tuple[float, float]:
        codes = self.sae.encode(x)
        return fvu_l0(x, codes, self.sae.decode(codes))

    def decoder(self) -> Tensor:
        return self.sae.W_dec.detach()


def make(**settings: Any) -> Trainer:
    return Peer(**settings)


if __name__ == "__main__":
    Bench(make).serve()
