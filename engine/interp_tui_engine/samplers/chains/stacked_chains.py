"""Several chains in one step: parameters stacked, gradients from one call for all of them (`stacked_loss`).

The stack always has the same width, and chain c always sits in slot c mod width, so a chain's numbers do not depend on which others
are there; slots without a chain compute at w0 and are ignored. Worth it where launches cost more than arithmetic (small models on a GPU).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...kind import Interrupted
from ...models.host_copies import host_copies
from .. import mala, metrics
from ..batches import BatchOrder
from ..fused.update import FusedUpdate, UpdateName
from ..kernel import kernel_of, vectors_of
from ..noise import Noise, NoiseName
from ..philox import PhiloxSource, StackedPhilox
from ..row_norms import row_norms
from ..settings import SamplerConfig
from ..target.problem import Batch, SamplingTarget, take
from ..target.space import FlatSpace
from .microbatch import Microbatch
from .record import ChainRecord
from .stacked_loss import stacked_loss


@final
class StackedChains:
    """Chains c with the same c // width, stepping together."""

    def __init__(
        self,
        problem: SamplingTarget,
        config: SamplerConfig,
        records: Sequence[ChainRecord],
        order: BatchOrder,
        pieces: Microbatch,
        mode: str,
        width: int,
        noise: NoiseName = "torch",
        update: UpdateName = "operations",
    ) -> None:
        assert len({r.chain // width for r in records}) == 1, "chains of one stack share c // width"
        self._problem, self._config, self._order, self._pieces, self._width = problem, config, order, pieces, width
        self.records = tuple(records)
        self._slots = {r.chain % width: r for r in records}
        self._loss = stacked_loss(problem, mode)
        space = problem.space
        self._anchor = space.anchor()
        self._flat = self._anchor.repeat(width, 1)
        self._kernel = kernel_of(config.sampling_method)
        start = self._kernel.init(self._flat, config)
        self._vectors = {name: getattr(start, name) for name in vectors_of(config.sampling_method)}

        def source_of(chain: int, stream: str) -> Noise:
            return space.noise(noise, config.init_seed, chain, stream)

        self._noise = {slot: source_of(r.chain, "step") for slot, r in self._slots.items()}
        self._scratch = torch.zeros_like(self._flat)
        self._gradient = torch.zeros_like(self._flat)
        self._mask = space.mask()
        self._fused = self._fused_update() if update == "kernel" else None
        self.want_distance = True
        self.steady, self.abandon, self.ahead = True, False, 1
        if config.init_noise:
            for slot, record in self._slots.items():
                add_init_noise(self._flat[slot], self._scratch[slot], source_of(record.chain, "init"), self._mask, space, config.init_noise)

    def _fused_update(self) -> FusedUpdate:
        """What makes noise, update and norms of all slots at once; those without a chain have the noise that one there would have."""
        space, seed, first = self._problem.space, self._config.init_seed, self.records[0].chain // self._width * self._width
        numbers = StackedPhilox([PhiloxSource(seed, first + slot, [], "step") for slot in range(self._width)], space.device)
        return FusedUpdate(space, self._config, self._flat, self._vectors, numbers, gradient=self._gradient)

    @property
    def done(self) -> bool:
        """Whether every chain is at its last step, or has failed."""
        return all(r.done for r in self.records)

    def step(self) -> None:
        """One step of every chain of the stack that is not done. A chain that is no longer finite fails alone."""
        live = {slot: r for slot, r in self._slots.items() if not r.done}
        (step,) = {r.now.step for r in live.values()}
        gradient_losses = self._pieces.run(lambda: self._losses_and_gradients(step))
        self.steady = False
        if self.abandon:
            self.steady = True
            raise Interrupted
        check = self._config.acceptance_at(step)
        start = None if check is None else (self._flat.clone(), self._gradient.clone())
        measured = self._update(step, live)
        observed = self._pieces.run(lambda: self._observables(step))
        losses, norms, distances, *values = host_copies([gradient_losses, *measured, *observed])
        if check is not None and start is not None:
            accepted = self._acceptances(step, losses, *start)
            for slot, record in live.items():
                record.push("acceptance", check, accepted[slot])
        draw = self._config.draw_at(step)
        for slot, record in live.items():
            wrong = not_finite(losses[slot], norms[slot], distances[slot])
            if wrong:
                self._fail(slot, record, step, f"the {wrong} not finite")
                continue
            for observable, seen in zip(self._problem.observables, values, strict=False):
                assert draw is not None
                record.push(f"loss_{observable.name}", draw, seen[slot])
            record.stepped(step, losses[slot], losses[slot].size, float(norms[slot]), float(distances[slot]))
        self.steady = True

    def _fail(self, slot: int, record: ChainRecord, step: int, reason: str) -> None:
        record.fail(step, reason)
        # Back to w0, so that the slot's arithmetic stays finite and cheap.
        self._flat[slot] = self._anchor

    def _stacked_batch(self, per_slot: Mapping[int, Tensor]) -> tuple[Batch, int | None]:
        rows = [per_slot.get(slot, next(iter(per_slot.values()))) for slot in range(self._width)]
        if self._config.match_sampling_input_ids_across_chains:
            return self._problem.prepared(self._problem.batch(rows[0])), None
        flat = self._problem.prepared(self._problem.batch(torch.cat(rows)))
        return _unflatten(flat, self._width), 0

    def _losses_and_gradients(self, step: int) -> Float[Tensor, "chains rows positions"]:
        problem = self._problem
        per_slot = {slot: self._order.step(step, r.chain) for slot, r in self._slots.items()}
        micro = len(next(iter(per_slot.values())))
        total = self._config.rows_per_step * problem.positions
        row_losses: list[Tensor] = []
        for i in range(micro):
            pieces = {slot: self._pieces.split(batches[i]) for slot, batches in per_slot.items()}
            for j in range(len(next(iter(pieces.values())))):
                if self.abandon and self.steady:
                    raise Interrupted
                batch, dim = self._stacked_batch({slot: parts[j] for slot, parts in pieces.items()})
                row_losses.append(self._loss.gradient(self._flat, self._gradient, batch, dim, total, first=not row_losses))
        return torch.cat(row_losses, dim=1)

    def _acceptances(self, step: int, losses: NDArray[np.float32], start: Tensor, gradient: Tensor) -> list[float]:
        """MALA's acceptance of each slot's update just made, from one more gradient on the same batch."""
        after = self._pieces.run(lambda: self._losses_and_gradients(step)).cpu().numpy()
        state = self._kernel.State(self._flat, **self._vectors)
        rest = mala.log_ratio_of_block(
            start,
            self._flat,
            gradient,
            self._gradient,
            self._anchor,
            self._mask,
            self._kernel.conditioner(state, self._config),
            self._config,
        )
        falls = (losses - after).reshape(self._width, -1).mean(1, dtype=np.float64) * self._config.n_beta
        return [mala.probability(float(a) + float(b)) for a, b in zip(rest, falls, strict=True)]

    @torch.no_grad()
    def _update(self, step: int, live: Mapping[int, ChainRecord]) -> tuple[Float[Tensor, " chains"], Float[Tensor, " chains"]]:
        """Move the weights; norms of each chain's gradient and of its way from w0."""
        if self._fused is not None:
            self._fused.of_stack(torch.full((1,), step, device=self._flat.device))
            norms, distances = self._fused.norms.unbind(1)
        else:
            norms, distances = self._update_by_operations(step, live)
        for slot in set(range(self._width)) - set(live):
            self._flat[slot] = self._anchor
        return norms, distances

    def _update_by_operations(
        self, step: int, live: Mapping[int, ChainRecord]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, " chains"]]:
        space = self._problem.space
        for slot in live:
            for b in space.blocks:
                self._noise[slot].fill(self._scratch[slot, b.start : b.stop], step, b.index)
        before = (self._flat.clone(), self._scratch.clone()) if self._config.save_metrics else None
        state = self._kernel.State(self._flat, **self._vectors)
        state = self._kernel.step(state, self._gradient, self._scratch, self._anchor, self._mask, self._config)
        if (couple := getattr(self._kernel, "couple", None)) is not None:
            couple(state, space.numel, self._config)
        if before is not None:
            conditioner = self._kernel.conditioner(state, self._config)
            for slot, record in live.items():
                g_diag = None if conditioner is None else conditioner[slot]
                parts = metrics.parts_of_step(
                    before[0][slot], self._gradient[slot], before[1][slot], self._anchor, self._mask, g_diag, self._config
                )
                for name, value in zip(metrics.NAMES, metrics.finish(parts).tolist(), strict=True):
                    record.push(f"metrics_{name}", step, value)
        return row_norms(self._gradient), row_norms(self._flat - self._anchor)

    @torch.no_grad()
    def _observables(self, step: int) -> list[Float[Tensor, "chains rows positions"]]:
        if self._config.draw_at(step) is None:
            return []
        observed = []
        for observable in self._problem.observables:
            parts = []
            for start in range(0, observable.rows, observable.batch_size):
                for part in self._pieces.split(torch.arange(start, start + observable.batch_size)):
                    batch = self._problem.prepared(take(observable.data, slice(int(part[0]), int(part[-1]) + 1)))
                    parts.append(self._loss.losses(self._flat, batch))
            observed.append(torch.cat(parts, dim=1))
        return observed

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint of each chain holds."""
        rows = []
        for slot, record in self._slots.items():
            vectors = {f"vector_{name}": v[slot].clone() for name, v in self._vectors.items()}
            rows.append({**record.state(), "weights": self._flat[slot].clone(), **vectors})
        return rows

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Go on from checkpoints that `state` wrote, in the order of `records`."""
        for (slot, record), state in zip(self._slots.items(), states, strict=True):
            if record.done:
                continue
            self._flat[slot] = state["weights"].to(self._flat.device)
            for name, vector in self._vectors.items():
                vector[slot] = state[f"vector_{name}"].to(vector.device)


def add_init_noise(
    flat: Float[Tensor, " size"],
    scratch: Float[Tensor, " size"],
    source: Noise,
    mask: Float[Tensor, " size"] | None,
    space: FlatSpace,
    scale: float,
) -> None:
    """Move a chain's weights by N(0, scale²) where they may move."""
    for b in space.blocks:
        source.fill(scratch[b.start : b.stop], 0, b.index)
    kick = scratch * scale
    flat += kick if mask is None else kick * mask


def not_finite(losses: NDArray[np.float32], norm: np.float32, distance: np.float32) -> str:
    """Which of a chain's numbers is the first that is not finite; empty where all are."""
    values = {"loss is": losses.mean(dtype=np.float64), "gradient is": norm, "weights are": distance}
    return next((what for what, value in values.items() if not math.isfinite(float(value))), "")


def _unflatten(batch: Batch, width: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch.view(width, -1, *batch.shape[1:])
    if isinstance(batch, Mapping):
        return {key: value.view(width, -1, *value.shape[1:]) for key, value in batch.items()}
    return tuple(value.view(width, -1, *value.shape[1:]) for value in batch)
