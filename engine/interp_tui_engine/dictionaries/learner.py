"""One dictionary being trained: its weights, its optimiser, and which of its latents still fire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..models.device import widest_float
from .architecture import Architecture, Pass
from .auxk import auxk_error
from .schedule import Schedule
from .weights import Weights, remove_parallel_, unit_rows_

BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Running:
    """Training numbers over the batches since they were last taken."""

    tokens: int
    loss: float
    fvu: float
    l0: float
    dead_fraction: float
    never_fired: int
    """Latents that fired on none of these tokens."""


class Learner:
    """Adam on the architecture's loss plus AuxK, decoder rows kept at norm 1.

    Gradients are float32 and exact; the forward pass's products run in bfloat16 where that is asked for, by default on CUDA. The dense
    state (two moments a weight) is stepped by torch's fused Adam: at a batch of thousands nearly every latent has a gradient, and
    catching up idle rows would cost more than stepping them.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        schedule: Schedule,
        *,
        auxk_coefficient: float,
        k_aux: int,
        dead_after: int,
        bf16: bool | None = None,
    ) -> None:
        """bf16: whether the forward pass's products run in bfloat16; None: on CUDA."""
        self.architecture = architecture
        self.schedule = schedule
        self.weights = architecture.begin(weights).map(lambda tensor: tensor.detach().clone())
        self.step_count = 0
        self._auxk, self._k_aux, self._dead_after = auxk_coefficient, k_aux, dead_after
        device = self.weights.encoder.device
        for name in architecture.trained:
            self.weights.named()[name].requires_grad_(True)
        self._trained = [self.weights.named()[name] for name in architecture.trained]
        self._adam = torch.optim.Adam(self._trained, lr=schedule.lr, betas=BETAS, fused=device.type in ("cpu", "cuda"))
        self._bf16 = device.type == "cuda" if bf16 is None else bf16
        self._idle_M = torch.zeros(self.weights.latents, dtype=torch.int64, device=device)
        self._longest = 0
        """No latent has been idle for more tokens: what is known of `_idle_M` without waiting for its device."""
        self._sums = _Sums.zero(self.weights)

    @property
    def dead(self) -> Bool[Tensor, " m"]:
        """Latents that have not fired for `dead_after` tokens."""
        return self._idle_M >= self._dead_after

    def step(self, x_BD: Float[Tensor, "b d"]) -> None:
        """Learn from one batch."""
        self.apply(x_BD, self.differentiate((x_BD,)))

    def differentiate(self, parts: Sequence[Float[Tensor, "part d"]]) -> Pass:
        """Leave the gradients of a batch's mean loss, made part by part for what fits in memory; returns what `apply` needs.

        Nothing else changes, so that it can be tried again in smaller parts. Sums over inputs come out the same but for rounding; what
        inputs share (BatchTopK's budget, JumpReLU's mean L0) they then share within a part.
        """
        self._adam.zero_grad(set_to_none=True)
        rows = sum(part.shape[0] for part in parts)
        joined: Pass | None = None
        for part in parts:
            done, loss, share = *self._forward(part), part.shape[0] / rows
            (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
            done = replace(done, reconstruction=done.reconstruction[:0], loss=loss.detach() * share, error=done.error.detach() * share)
            joined = done if joined is None else _joined(joined, done)
        assert joined is not None, "a batch has a part"
        return joined

    def _forward(self, x_BD: Tensor) -> tuple[Pass, Tensor]:
        """The pass, and its loss with AuxK."""
        with torch.autocast(x_BD.device.type, torch.bfloat16) if self._bf16 else nullcontext():
            done = self.architecture.train(self.weights, x_BD, self.schedule.pressure(self.step_count))
            if self._auxk > 0 and self._longest >= self._dead_after:  # which latents are dead is a question that waits for the device
                revived = auxk_error(self.weights, x_BD, done.reconstruction, self.dead, self._k_aux)
                if revived is not None:
                    return done, done.loss + self._auxk * revived
                self._longest = int(self._idle_M.max())
        return done, done.loss

    def apply(self, x_BD: Float[Tensor, "b d"], done: Pass) -> None:
        """Move the weights by the gradients that `differentiate` left, and count what the batch did."""
        weights, schedule = self.weights, self.schedule
        with torch.no_grad():
            assert weights.decoder.grad is not None
            remove_parallel_(weights.decoder.grad, weights.decoder)
            for group in self._adam.param_groups:
                group["lr"] = schedule.rate(self.step_count)
            self._adam.step()
            unit_rows_(weights.decoder)
            self.architecture.settle(weights, done)
            self._idle_M.add_(x_BD.shape[0]).masked_fill_(done.fired > 0, 0)
            self._longest += x_BD.shape[0]
            self._sums.add(x_BD, done.loss, done.error, done.fired)
        self.step_count += 1

    def take_running(self) -> tuple[Running, Float[Tensor, " m"]]:
        """The numbers since the last call, and how often each latent fired in that time. Starts counting anew."""
        sums, self._sums = self._sums, _Sums.zero(self.weights)
        return sums.running(float(self.dead.float().mean())), sums.fired

    def state(self) -> dict[str, Any]:
        """All that goes on from here bit for bit: tensors and numbers only. The tensors are those in use, not copies."""
        return {
            "weights": {name: tensor.detach() for name, tensor in self.weights.named().items()},
            "adam": {
                str(index): {key: self._adam.state[tensor][key] for key in ("step", "exp_avg", "exp_avg_sq")}
                for index, tensor in enumerate(self._trained)
                if tensor in self._adam.state
            },
            "idle": self._idle_M,
            "step_count": self.step_count,
            "sums": self._sums.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        device = self.weights.encoder.device
        with torch.no_grad():
            for name, tensor in self.weights.named().items():
                tensor.copy_(state["weights"][name])
            self._idle_M.copy_(state["idle"])
            self._longest = int(self._idle_M.max())
        for index, tensor in enumerate(self._trained):
            if (moments := state["adam"].get(str(index))) is not None:
                self._adam.state[tensor] = {key: value.to(device) for key, value in moments.items()}
        self.step_count = int(state["step_count"])
        self._sums = _Sums.load(state["sums"], device)


def _joined(left: Pass, right: Pass) -> Pass:
    """Two parts of a batch as one; their losses are shares of its already."""
    defined = [value for value in (left.smallest, right.smallest) if value is not None]
    smallest = torch.stack(defined).min() if defined else None
    return Pass(left.reconstruction, left.loss + right.loss, left.error + right.error, left.fired + right.fired, smallest)


@dataclass
class _Sums:
    """Sums over batches, in float64 and on the device, so that no step waits for them."""

    tokens: int
    batches: int
    loss: Tensor
    error: Tensor
    x: Tensor
    x_squared: Tensor
    fired: Tensor

    @staticmethod
    def zero(weights: Weights) -> _Sums:
        device = weights.encoder.device
        double = widest_float(device)
        scalar = torch.zeros((), dtype=double, device=device)
        fired = torch.zeros(weights.latents, device=device)
        return _Sums(0, 0, scalar.clone(), scalar.clone(), torch.zeros(weights.width, dtype=double, device=device), scalar.clone(), fired)

    def add(self, x_BD: Tensor, loss: Tensor, error: Tensor, fired: Tensor) -> None:
        count = x_BD.shape[0]
        self.tokens += count
        self.batches += 1
        self.loss += loss
        self.error += error * count
        self.x += x_BD.sum(0)
        self.x_squared += torch.linalg.vector_norm(x_BD).to(self.x_squared.dtype).square()
        self.fired += fired

    def running(self, dead_fraction: float) -> Running:
        tokens = max(1, self.tokens)
        variance = float(self.x_squared) - float(self.x.square().sum()) / tokens
        return Running(
            tokens=self.tokens,
            loss=float(self.loss) / max(1, self.batches),
            fvu=float(self.error) / variance if variance > 0 else math.nan,
            l0=float(self.fired.sum()) / tokens,
            dead_fraction=dead_fraction,
            never_fired=int((self.fired == 0).sum()),
        )

    def state(self) -> dict[str, Any]:
        return dict(vars(self))

    @staticmethod
    def load(state: Mapping[str, Any], device: torch.device) -> _Sums:
        placed: dict[str, Any] = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in state.items()}
        return _Sums(**placed)
