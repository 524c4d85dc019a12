"""What both sides of the SAE benches do: activations that are sums of known sparse features, the same in both processes. Torch alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .side import device, now, serve

HELD_OUT = 4096


def known_features(count: int, width: int, seed: int) -> Tensor:
    """Random unit rows (count, width)."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def activations(features: Tensor, rows: int, active: float, seed: int) -> Tensor:
    """Sums of about `active` features each, of strength 0.5 to 1.5, scaled to mean norm √width."""
    g = torch.Generator().manual_seed(seed)
    count, width = features.shape
    pieces = []
    for start in range(0, rows, 2048):
        size = min(2048, rows - start)
        on = torch.rand(size, count, generator=g) < active / count
        pieces.append((on * (torch.rand(size, count, generator=g) + 0.5)) @ features)
    x = torch.cat(pieces)
    return x * (width**0.5 / x.norm(dim=1).mean())


def mean_max_cosine(truth: Tensor, found: Tensor) -> float:
    """MCC: the largest cosine of each true feature with any found one, averaged."""
    found = found / found.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return float((truth @ found.T).max(dim=1).values.mean())


class Trainer(ABC):
    """One side's dictionary in training."""

    @abstractmethod
    def step(self, x: Tensor) -> None:
        """Learn from one batch."""

    @abstractmethod
    def finish(self) -> None:
        """Training is over."""

    @abstractmethod
    def measure(self, x: Tensor) -> tuple[float, float]:
        """FVU and L0 of codes as they are made at use."""

    @abstractmethod
    def decoder(self) -> Tensor:
        """(latents, width)."""


class Bench:
    """Answers the bench's requests with a side's trainer."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._trainer: Trainer
        self._data = self._held_out = torch.zeros(0)
        self._batch = self._at = 0

    def set_up(self, threads: int, batch: int, batches: int, features: int, active: float, settings: Mapping[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        truth = known_features(features, settings["width"], 0)
        self._data = activations(truth, batch * batches, active, 1).to(device())
        self._held_out = activations(truth, HELD_OUT, active, 2).to(device())
        self._batch, self._at = batch, 0
        self._trainer = self._make(**settings, sample=self._data[:batch], batch=batch)
        return {}

    def train(self, steps: int) -> dict[str, Any]:
        start = now()
        for _ in range(steps):
            at = self._at * self._batch % len(self._data)
            self._trainer.step(self._data[at : at + self._batch])
            self._at += 1
        return {"seconds": now() - start}

    def measure(self) -> dict[str, Any]:
        fvu, l0 = self._trainer.measure(self._held_out)
        return {"fvu": fvu, "l0": l0}

    def recover(self, threads: int, steps: int, batch: int, features: int, active: float, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Train on a stream that never repeats itself, then say how much of the truth was found."""
        torch.set_num_threads(threads)
        torch.manual_seed(settings.get("seed", 0))
        truth = known_features(features, settings["width"], 0)
        data = activations(truth, 40_000, active, 1).to(device())
        trainer: Trainer = self._make(**settings, sample=data[:2048], batch=batch, steps=steps)
        order = torch.Generator().manual_seed(5)
        for _ in range(steps):
            trainer.step(data[torch.randint(0, 36_000, (batch,), generator=order).to(data.device)])
        trainer.finish()
        fvu, l0 = trainer.measure(data[36_000:])
        return {"mcc": mean_max_cosine(truth, trainer.decoder().cpu()), "fvu": fvu, "l0": l0}

    def serve(self) -> None:
        serve(
            {
                "where": lambda: {"device": device()},
                "set_up": self.set_up,
                "train": self.train,
                "measure": self.measure,
                "recover": self.recover,
            }
        )


def fvu_l0(x: Tensor, codes: Tensor, reconstruction: Tensor) -> tuple[float, float]:
    """FVU and L0 of a batch."""
    error = (x - reconstruction).square().sum() / (x - x.mean(0)).square().sum()
    return float(error), float((codes > 0).sum(1).float().mean())
