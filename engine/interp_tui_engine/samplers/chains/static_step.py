"""A sampling step that needs nothing of the host: a function of buffers that stay where they are.

Which rows are next, the step's number, the noise and the place where results go are all counted on the device, so that a step can be
recorded once and played again (CUDA graphs), and many are asked for before anything is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..batches import BatchOrder
from ..fused.update import FusedUpdate
from ..kernel import Kernel
from ..row_norms import row_norms
from ..settings import SamplerConfig
from ..target.parameters import ParameterSpace
from ..target.problem import Observable
from ..target.stacked_llama import StackedLlama

RING = 16
"""Steps whose results the device keeps before they are copied out."""
MOST_ROWS_BYTES = 1 << 30
"""Bound on the token rows that the device holds, in the order in which they come."""


@final
class StaticStep:
    """Buffers of a stack of chains, and a step over them.

    flat, gradient and scratch (C, size) hold weights, gradient and noise; `vectors` the sampler's own; fill() writes the noise of the step
    that `number` counts. A row of `ring` holds a step's losses (C, rows, positions), norms of gradient and of the way from w0 (C,), and at
    a draw the observables' losses, side by side.
    """

    def __init__(
        self,
        model: StackedLlama,
        space: ParameterSpace,
        config: SamplerConfig,
        kernel: Kernel,
        rows: Int[Tensor, "*streams batches batch t1"],
        observables: Sequence[Observable],
        width: int,
    ) -> None:
        self.model, self.space, self.config, self.kernel, self.rows = model, space, config, kernel, rows
        device = space.device
        self.anchor, self.mask = space.anchor(), space.mask()
        self.flat = self.anchor.repeat(width, 1)
        self.gradient, self.scratch = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        state = kernel.init(self.flat, config)
        self.vectors = {name: value for name, value in vars(state).items() if name != "weights"}
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        self.batch = torch.zeros(config.gradient_accumulation_steps, dtype=torch.int64, device=device)
        self.slot = torch.zeros(1, dtype=torch.int64, device=device)
        self.observed = [(o.input_ids.to(device), o.batch_size) for o in observables if o.input_ids is not None]
        positions = rows.shape[-1] - 1
        self.shapes = [(width, config.rows_per_step, positions), (width,), (width,)]
        self.shapes += [(width, len(ids), positions) for ids, _ in self.observed]
        self.ring = torch.zeros(RING, sum(torch.Size(shape).numel() for shape in self.shapes), device=device)
        self.fill: Callable[[], None] = lambda: None
        self.fused: FusedUpdate | None = None
        """What makes noise, update and norms at once, in place of `fill` and the kernel's step."""
        self.moved = False
        """Whether the step that was called last came as far as its update."""
        self.start_at(0)

    def start_at(self, step: int) -> None:
        """Count from this step on."""
        accumulated = len(self.batch)
        self.number.fill_(step)
        self.slot.zero_()
        first = (torch.arange(accumulated) + step * accumulated) % self.rows.shape[-3]
        self.batch.copy_(first)

    @torch.no_grad()
    def __call__(self, draw: bool) -> None:
        """One step of every chain, its results in the ring; observables too if it is a draw."""
        self.moved = False
        losses = self._gradient()
        results = [losses, *(self._update() if self.fused is None else self._fused_update(self.fused))]
        if draw:
            results += [self._observable(*observed) for observed in self.observed]
        row = torch.cat([result.reshape(-1) for result in results])
        self.ring[:, : row.shape[0]].index_copy_(0, self.slot, row[None])
        self.slot.add_(1).remainder_(RING)
        self.number.add_(1)
        self.batch.add_(len(self.batch)).remainder_(self.rows.shape[-3])

    @torch.no_grad()
    def rehearse(self) -> None:
        """Compute what takes memory, and move nothing."""
        self._gradient()
        for observed in self.observed:
            self._observable(*observed)

    def _update(self) -> list[Float[Tensor, " C"]]:
        """Noise and update, operation by operation; norms of each chain's gradient and of its way from w0."""
        self.fill()
        self.moved = True
        state = self.kernel.State(self.flat, **self.vectors)
        state = self.kernel.step(state, self.gradient, self.scratch, self.anchor, self.mask, self.config)
        if (couple := getattr(self.kernel, "couple", None)) is not None:
            couple(state, self.space.numel, self.config)
        return [row_norms(self.gradient), row_norms(self.flat - self.anchor)]

    def _fused_update(self, fused: FusedUpdate) -> list[Float[Tensor, " C"]]:
        """The same in two launches."""
        self.moved = True
        fused.of_stack(self.number)
        return list(fused.norms.unbind(1))

    def _gradient(self) -> Float[Tensor, "C rows positions"]:
        total, losses = self.config.rows_per_step * (self.rows.shape[-1] - 1), []
        for index in range(len(self.batch)):
            ids = self.rows.index_select(-3, self.batch[index : index + 1]).squeeze(-3)
            losses.append(self.model.gradient(self.flat, self.gradient, ids, total, keep=int(index > 0)))
        return losses[0] if len(losses) == 1 else torch.cat(losses, dim=1)

    def _observable(self, ids: Int[Tensor, "rows t1"], at_once: int) -> Float[Tensor, "C rows positions"]:
        losses = [self.model.losses(self.flat, part) for part in torch.split(ids, at_once)]
        return losses[0] if len(losses) == 1 else torch.cat(losses, dim=1)


def rows_in_order(tokens: Int[Tensor, "n t1"], order: BatchOrder, streams: Sequence[int], device: torch.device) -> Tensor | None:
    """Token rows in the order of an epoch's micro-batches, (batches, batch, t+1), with an axis before it for more than one stream of them.

    None where they are more than the device should hold.
    """
    epochs = [order.epoch(stream) for stream in streams]
    if len(epochs) * epochs[0].numel() * tokens.shape[1] * tokens.element_size() > MOST_ROWS_BYTES:
        return None
    rows = torch.stack([tokens[epoch] for epoch in epochs]).to(device)
    return rows[0] if len(epochs) == 1 else rows
