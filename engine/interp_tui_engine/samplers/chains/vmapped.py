"""Several chains in one step: parameters stacked, gradients from `torch.func.vmap(grad)`.

The stack always has the same width, and chain c always sits in slot c mod width, so a chain's numbers do not depend on which others
are there; slots without a chain compute at w0 and are ignored. Worth it where launches cost more than arithmetic (small models on a GPU).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kind import Interrupted
from .. import mala, metrics
from ..batches import BatchOrder
from ..kernel import kernel_of, vectors_of
from ..noise import NoiseSource
from ..settings import SamplerConfig
from ..target.problem import Batch, SamplingTarget, take
from .microbatch import Microbatch
from .record import ChainRecord


@final
class VmappedChains:
    """Chains c with the same c // width, stepping together."""

    def __init__(
        self,
        problem: SamplingTarget,
        config: SamplerConfig,
        records: Sequence[ChainRecord],
        order: BatchOrder,
        pieces: Microbatch,
        width: int,
    ) -> None:
        assert len({r.chain // width for r in records}) == 1, "chains of one stack share c // width"
        self._problem, self._config, self._order, self._pieces, self._width = problem, config, order, pieces, width
        self.records = tuple(records)
        self._slots = {r.chain % width: r for r in records}
        space = problem.space
        self._anchor = space.anchor()
        self._flat = self._anchor.repeat(width, 1)
        self._kernel = kernel_of(config.sampling_method)
        start = self._kernel.init(self._flat, config)
        self._vectors = {name: getattr(start, name) for name in vectors_of(config.sampling_method)}
        blocks = len(space.blocks)
        self._noise = {slot: NoiseSource(config.init_seed, r.chain, blocks, "step", space.device) for slot, r in self._slots.items()}
        self._scratch = torch.zeros_like(self._flat)
        self._gradient = torch.zeros_like(self._flat)
        self._mask = torch.zeros(space.size, device=space.device)
        for b in space.blocks:
            self._mask[b.start : b.stop] = 1.0 if b.mask is None else b.mask
        self.want_distance = True
        self.steady, self.abandon = True, False
        if config.init_noise:
            for slot, record in self._slots.items():
                source = NoiseSource(config.init_seed, record.chain, blocks, "init", space.device)
                for b in space.blocks:
                    source.fill(self._scratch[slot, b.start : b.stop], 0, b.index)
                self._flat[slot] += self._scratch[slot] * config.init_noise * self._mask

    @property
    def done(self) -> bool:
        return all(r.done for r in self.records)

    def step(self) -> None:
        """One step of every chain of the stack that is not done. A chain that is no longer finite fails alone."""
        live = {slot: r for slot, r in self._slots.items() if not r.done}
        (step,) = {r.now.step for r in live.values()}
        losses = self._pieces.run(lambda: self._losses_and_gradients(step))
        self.steady = False
        if self.abandon:
            self.steady = True
            raise Interrupted
        for slot, record in list(live.items()):
            if not math.isfinite(float(losses[slot].mean(dtype=np.float64))):
                self._fail(slot, record, step, "the loss is not finite")
                del live[slot]
        check = self._config.acceptance_at(step)
        start = None if check is None else (self._flat.clone(), self._gradient.clone())
        norms, distances = self._update(step, live)
        if check is not None and start is not None:
            accepted = self._acceptances(step, losses, *start)
            for slot, record in live.items():
                record.push("acceptance", check, accepted[slot])
        observed = self._pieces.run(lambda: self._observables(step))
        for slot, record in live.items():
            if not math.isfinite(norms[slot]) or not math.isfinite(distances[slot]):
                self._fail(
                    slot, record, step, "the gradient is not finite" if not math.isfinite(norms[slot]) else "the weights are not finite"
                )
                continue
            draw = self._config.draw_at(step)
            for name, values in observed.items():
                assert draw is not None
                record.push(name, draw, values[slot])
            record.stepped(step, losses[slot], losses[slot].size, norms[slot], distances[slot])
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

    def _leaves(self) -> dict[str, Tensor]:
        """The stacked parameters in the precision that the model computes in; the vectors themselves are the float32 masters."""
        return {name: value.to(self._problem.space.dtype) for name, value in self._problem.space.views(self._flat).items()}

    def _losses_and_gradients(self, step: int) -> NDArray[np.float32]:
        problem, space = self._problem, self._problem.space
        per_slot = {slot: self._order.step(step, r.chain) for slot, r in self._slots.items()}
        micro = len(next(iter(per_slot.values())))
        total = self._config.rows_per_step * problem.positions
        self._gradient.zero_()
        leaves, row_losses = self._leaves(), []

        def objective(leaves: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
            losses = problem.functional(leaves, batch)
            return losses.sum() / total, losses

        for i in range(micro):
            pieces = {slot: self._pieces.split(batches[i]) for slot, batches in per_slot.items()}
            for j in range(len(next(iter(pieces.values())))):
                if self.abandon and self.steady:
                    raise Interrupted
                batch, dim = self._stacked_batch({slot: parts[j] for slot, parts in pieces.items()})
                run = torch.func.vmap(torch.func.grad(objective, has_aux=True), in_dims=(0, dim))
                gradients, losses = run(leaves, batch)
                for slot_of in space.slots:
                    self._gradient[:, slot_of.start : slot_of.stop] += gradients[slot_of.name].reshape(self._width, -1)
                row_losses.append(losses)
        return torch.cat(row_losses, dim=1).detach().cpu().numpy()

    def _acceptances(self, step: int, losses: NDArray[np.float32], start: Tensor, gradient: Tensor) -> list[float]:
        """MALA's acceptance of each slot's update just made, from one more gradient on the same batch."""
        after = self._pieces.run(lambda: self._losses_and_gradients(step))
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
    def _update(self, step: int, live: Mapping[int, ChainRecord]) -> tuple[list[float], list[float]]:
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
        for slot in set(range(self._width)) - set(live):
            self._flat[slot] = self._anchor
        return self._gradient.norm(dim=1).tolist(), (self._flat - self._anchor).norm(dim=1).tolist()

    @torch.no_grad()
    def _observables(self, step: int) -> dict[str, NDArray[np.float32]]:
        if self._config.draw_at(step) is None:
            return {}
        run = torch.func.vmap(self._problem.functional, in_dims=(0, None))
        leaves, by_name = self._leaves(), {}
        for observable in self._problem.observables:
            parts = []
            for start in range(0, observable.rows, observable.batch_size):
                for part in self._pieces.split(torch.arange(start, start + observable.batch_size)):
                    batch = self._problem.prepared(take(observable.data, slice(int(part[0]), int(part[-1]) + 1)))
                    parts.append(run(leaves, batch))
            by_name[f"loss_{observable.name}"] = torch.cat(parts, dim=1).cpu().numpy()
        return by_name

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


def _unflatten(batch: Batch, width: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch.view(width, -1, *batch.shape[1:])
    if isinstance(batch, Mapping):
        return {key: value.view(width, -1, *value.shape[1:]) for key, value in batch.items()}
    return tuple(value.view(width, -1, *value.shape[1:]) for value in batch)
