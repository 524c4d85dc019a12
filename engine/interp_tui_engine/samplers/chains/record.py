"""What is known of one chain besides its weights: progress, loss trace, health, and the arrays it has not yet handed to the writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from ..settings import SamplerConfig
from .store import ArraySpec

Put = Callable[[str, tuple[int | slice, ...], NDArray[Any]], None]
"""Hands a finished region to the writer: array name, index, values."""


@dataclass(frozen=True)
class ChainSnapshot:
    """One chain at one moment. Losses are means over rows and positions, in nats; None before there is one."""

    chain: int
    step: int
    draws: int
    loss: float | None
    mean_loss: float | None
    distance: float | None
    gradient_norm: float | None
    tokens: int
    failed_step: int | None
    failed_reason: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest step's parts by their names in `metrics`, where they are measured."""

    @property
    def healthy(self) -> bool:
        """Whether the chain has not failed."""
        return self.failed_reason is None


@final
class ChainRecord:
    """Bookkeeping of one chain; written by the thread that steps it, read by the one that reports."""

    def __init__(self, chain: int, config: SamplerConfig, arrays: Mapping[str, ArraySpec], put: Put | None) -> None:
        self._config, self._put = config, put
        self._streams = {name: s for name, s in arrays.items() if s.stretch is not None and put is not None}
        self._open: dict[str, NDArray[np.float32]] = {}
        self.trace: NDArray[np.float64] = np.full(config.num_draws, np.nan)
        self.now = ChainSnapshot(chain, 0, 0, None, None, None, None, 0, None, None)
        self._sum = 0.0
        self._metrics: dict[str, float] = {}

    @property
    def chain(self) -> int:
        """The chain's number."""
        return self.now.chain

    @property
    def done(self) -> bool:
        """Whether the chain is at its last step, or has failed."""
        return self.now.step >= self._config.num_sgld_steps or not self.now.healthy

    def stepped(self, step: int, losses: NDArray[np.float32], tokens: int, gradient_norm: float, distance: float | None) -> None:
        """One step was taken: `losses` (rows, positions) are those before its update."""
        self.push("sampling_loss_micro", step, losses)
        loss = float(losses.mean(dtype=np.float64))
        draw = self._config.draw_at(step)
        if draw is not None:
            self.push("sampling_loss", draw, losses.reshape(-1, self._config.batch_size, losses.shape[1]).mean(0))
            self.trace[draw] = loss
        mean = self.now.mean_loss
        after_burnin = step + 1 - self._config.num_burnin_steps
        if after_burnin > 0:
            self._sum += loss
            mean = self._sum / after_burnin
        self.now = replace(
            self.now,
            step=step + 1,
            draws=self.now.draws if draw is None else draw + 1,
            loss=loss,
            mean_loss=mean,
            gradient_norm=gradient_norm,
            distance=self.now.distance if distance is None else distance,
            metrics=dict(self._metrics),
            tokens=self.now.tokens + tokens,
        )

    def push(self, name: str, time: int, values: NDArray[np.float32] | float) -> None:
        """Values of a streamed array at one step or draw; a stretch that is full goes to the writer.

        values: of the array's shape behind the axes of chains and of steps or draws.
        """
        if name.startswith("metrics_") and isinstance(values, float):
            self._metrics[name.removeprefix("metrics_")] = values
        spec = self._streams.get(name)
        if spec is None or self._put is None:
            return
        assert spec.stretch is not None
        start = time - time % spec.stretch
        length = min(spec.stretch, spec.shape[1] - start)
        if name not in self._open:
            self._open[name] = np.empty((length, *spec.shape[2:]), np.float32)
        self._open[name][time - start] = values
        if time - start + 1 == length:
            self._put(name, (self.chain, slice(start, start + length)), self._open.pop(name))

    def fail(self, step: int, reason: str) -> None:
        """Stop the chain, and blank what it has written, so that no estimate takes it in."""
        self.now = replace(self.now, failed_step=step, failed_reason=reason, loss=None, mean_loss=None, distance=None, gradient_norm=None)
        self.trace[:] = np.nan
        self._open.clear()
        for name, spec in self._streams.items():
            assert spec.stretch is not None and self._put is not None
            for start in range(0, spec.shape[1], spec.stretch):
                stop = min(start + spec.stretch, spec.shape[1])
                self._put(name, (self.chain, slice(start, stop)), np.full((stop - start, *spec.shape[2:]), np.nan, np.float32))

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, for a checkpoint."""
        n = self.now
        return {
            "step": n.step,
            "draws": n.draws,
            "loss": n.loss,
            "mean_loss": n.mean_loss,
            "distance": n.distance,
            "gradient_norm": n.gradient_norm,
            "tokens": n.tokens,
            "failed_step": n.failed_step,
            "failed_reason": n.failed_reason,
            "sum": self._sum,
            "trace": torch.from_numpy(self.trace[: n.draws].copy()),
            "open": {name: torch.from_numpy(values.copy()) for name, values in self._open.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        fields = {
            key: state[key]
            for key in ("step", "draws", "loss", "mean_loss", "distance", "gradient_norm", "tokens", "failed_step", "failed_reason")
        }
        self.now = replace(self.now, **fields)
        self._sum = float(state["sum"])
        self.trace[: self.now.draws] = state["trace"].numpy()
        self._open = {name: values.numpy().copy() for name, values in state["open"].items()}
