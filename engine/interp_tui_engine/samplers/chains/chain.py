"""One chain: a step is gradient, update, record, and at a draw the observables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple, final

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
from ..kernel import Kernel, kernel_of, vectors_of
from ..noise import Noise, NoiseName
from ..philox import PhiloxSource
from ..settings import SamplerConfig
from ..target.parameters import ChainWeights
from ..target.problem import Observable, RowLoss, SamplingTarget, take
from ..target.space import ParameterBlock
from .microbatch import Microbatch
from .record import ChainRecord


class NonFinite(Exception):
    """A chain's loss, gradient or weights are no longer numbers."""


@final
class Chain:
    """A chain that is resident in memory. `step()` advances it by one; an error other than NonFinite leaves it at the step it was at.

    While it is `steady` its state is that of its last step: also while a gradient is taken, which it gives up, with Interrupted, once
    `abandon` is set.
    """

    def __init__(
        self,
        problem: SamplingTarget,
        config: SamplerConfig,
        record: ChainRecord,
        order: BatchOrder,
        pieces: Microbatch,
        helpers: ThreadPoolExecutor | None,
        threads: int,
        noise: NoiseName = "torch",
        update: UpdateName = "operations",
    ) -> None:
        self._problem, self._config, self._order, self._pieces = problem, config, order, pieces
        self._noise_name = noise
        self.records = (record,)
        self.weights = problem.space.weights()
        self._loss: RowLoss = problem.bind(self.weights.leaves)
        self._kernel: Kernel = kernel_of(config.sampling_method)
        start = self._kernel.init(self.weights.flat, config)
        self._vectors = {name: getattr(start, name) for name in vectors_of(config.sampling_method)}
        stripes = 0 if update == "kernel" else 1 if helpers is None else min(threads, len(problem.space.blocks))
        self._helpers = helpers
        self._noise = [self._noise_of("step") for _ in range(stripes)]
        widest = max(b.stop - b.start for b in problem.space.blocks)
        self._scratch = [torch.empty(widest, device=problem.space.device) for _ in range(stripes)]
        self._fused = self._fused_update() if update == "kernel" else None
        self.want_distance = True
        self.steady, self.abandon, self.ahead = True, False, 1
        self.weights.call_while_differentiating(self._end_if_abandoned)
        if config.init_noise:
            self._add_init_noise(config.init_noise)

    def _noise_of(self, stream: str) -> Noise:
        space = self._problem.space
        return space.noise(self._noise_name, self._config.init_seed, self.records[0].chain, stream)

    def _fused_update(self) -> FusedUpdate:
        """What makes the noise and the update of all blocks at once."""
        space, flat = self._problem.space, self.weights.flat
        assert isinstance(self.weights, ChainWeights), "parts of a model on several devices are updated by operations"
        numbers = PhiloxSource(self._config.init_seed, self.records[0].chain, [], "step").on(space.device)
        vectors = {name: vector[None] for name, vector in self._vectors.items()}
        return FusedUpdate(space, self._config, flat[None], vectors, numbers, published=self.weights.published)

    def _add_init_noise(self, scale: float) -> None:
        source = self._noise_of("init")
        for block in self.weights.space.blocks:
            kick = source.fill(torch.empty(block.stop - block.start, device=self.weights.flat.device), 0, block.index).mul_(scale)
            self.weights.flat[block.start : block.stop] += kick if block.mask is None else kick.mul_(block.mask)
            self.weights.publish(block)

    @property
    def done(self) -> bool:
        """Whether the chain is at its last step, or has failed."""
        return self.records[0].done

    def step(self) -> None:
        """Gradient at the weights, update, record; observables if this step is a draw."""
        record = self.records[0]
        step = record.now.step
        gradient_losses = self._pieces.run(lambda: self._gradient(step, record.chain))
        self.steady = False
        if self.abandon:
            self.steady = True
            raise Interrupted
        check = self._config.acceptance_at(step)
        start = None if check is None else (self.weights.flat.clone(), [g.clone() for _, g in self.weights.gradients()])
        space = self._problem.space
        want_distance = self.want_distance or step + 1 == self._config.num_sgld_steps or bool(space.part)
        self.want_distance = False
        stripes = self._update(step, want_distance)
        observed = self._observe(step)
        # All that the host needs of a step comes in one copy: on a GPU each would wait for everything asked of it before.
        sums = [part for stripe in stripes for part in (stripe.squares, stripe.distances)]
        losses, *values = host_copies([gradient_losses, *sums, *observed])
        totals = space.total(np.array([sum(map(_sum, values[part : len(sums) : 2])) for part in (0, 1)]))
        self._must_be_finite(losses, totals)
        norm, distance = map(math.sqrt, totals.tolist())
        self._push(record, step, [stripe.metrics for stripe in stripes if stripe.metrics is not None], values[len(sums) :])
        if check is not None and start is not None:
            record.push("acceptance", check, self._acceptance(step, float(losses.mean(dtype=np.float64)), *start))
        record.stepped(step, losses, losses.size, norm, distance if want_distance else None)
        self.steady = True

    def _end_if_abandoned(self) -> None:
        if self.abandon and self.steady:
            raise Interrupted

    @staticmethod
    def _must_be_finite(losses: NDArray[np.float32], totals: Float[NDArray[np.float64], " 2"]) -> None:
        """Raise NonFinite for the first of loss, gradient and weights that is not; `totals` are |g|² and |w - w0|²."""
        if not math.isfinite(float(losses.mean(dtype=np.float64))):
            raise NonFinite("the loss is not finite")
        for what, total in zip(("gradient is", "weights are"), totals.tolist(), strict=True):
            if not math.isfinite(total):
                raise NonFinite(f"the {what} not finite")

    def _gradient(self, step: int, chain: int) -> Float[Tensor, "rows positions"]:
        batches = self._order.step(step, chain)
        total = sum(int(rows.shape[0]) for rows in batches) * self._problem.positions
        self.weights.zero_gradients()
        row_losses = []
        for rows in batches:
            for part in self._pieces.split(rows):
                self._end_if_abandoned()
                losses = self._loss(self._problem.batch(part))
                (losses.sum() / total).backward()  # type: ignore[no-untyped-call]
                row_losses.append(losses.detach())
        return torch.cat(row_losses)

    def _acceptance(self, step: int, loss: float, start: Tensor, gradients: list[Tensor]) -> float:
        """MALA's acceptance of the update just made, from one more gradient on the same batch."""
        after = self._pieces.run(lambda: self._gradient(step, self.records[0].chain))
        log_ratio = self._config.n_beta * (loss - float(after.cpu().numpy().mean(dtype=np.float64))) if self._problem.space.first else 0.0
        for (block, gradient), before in zip(self.weights.gradients(), gradients, strict=True):
            here = slice(block.start, block.stop)
            end = self.weights.flat[here]
            g_diag = self._kernel.conditioner(self._kernel.State(end, **{n: v[here] for n, v in self._vectors.items()}), self._config)
            anchor = self._problem.space.anchor_at(block)
            log_ratio += float(mala.log_ratio_of_block(start[here], end, before, gradient, anchor, block.mask, g_diag, self._config))
        return mala.probability(float(self._problem.space.total(np.array([log_ratio]))[0]))

    @torch.no_grad()
    def _observe(self, step: int) -> list[Float[Tensor, "rows positions"]]:
        """The observables' losses if this step is a draw."""
        if self._config.draw_at(step) is None:
            return []
        return [self._pieces.run(partial(self._observable, observable)) for observable in self._problem.observables]

    def _push(self, record: ChainRecord, step: int, parts: Sequence[Float[Tensor, " 9"]], observed: Sequence[NDArray[np.float32]]) -> None:
        """Hand the record what was measured at this step and draw."""
        if parts:
            together = torch.stack(list(parts)).sum(0)
            if self._problem.space.part:
                together = torch.from_numpy(self._problem.space.total(together.double().cpu().numpy())).float()
            for name, value in zip(metrics.NAMES, metrics.finish(together).tolist(), strict=True):
                record.push(f"metrics_{name}", step, value)
        draw = self._config.draw_at(step)
        for observable, losses in zip(self._problem.observables, observed, strict=False):
            assert draw is not None
            record.push(f"loss_{observable.name}", draw, losses)

    def _observable(self, observable: Observable) -> Float[Tensor, "rows positions"]:
        parts = []
        for start in range(0, observable.rows, observable.batch_size):
            for part in self._pieces.split(torch.arange(start, start + observable.batch_size)):
                parts.append(self._loss(take(observable.data, slice(int(part[0]), int(part[-1]) + 1))))
        return torch.cat(parts)

    @torch.no_grad()
    def _update(self, step: int, want_distance: bool) -> list[_Stripe]:
        if self._fused is not None:
            assert isinstance(self.weights, ChainWeights)
            self._fused.of_chain(step, [gradient for _, gradient in self.weights.gradients_as_made()])
            squares, distances = self._fused.squares.unbind(1)
            return [_Stripe(squares, distances, None)]
        work = list(self.weights.gradients())
        stripes = len(self._scratch)
        if stripes == 1:
            results = [self._stripe(0, work, step, want_distance)]
        else:
            assert self._helpers is not None
            parts = [work[i::stripes] for i in range(stripes)]
            results = list(self._helpers.map(lambda i: self._stripe(i, parts[i], step, want_distance), range(stripes)))
        if (couple := getattr(self._kernel, "couple", None)) is not None:
            couple(self._kernel.State(self.weights.flat, **self._vectors), self._problem.space.numel, self._config)
        return results

    def _stripe(self, stripe: int, work: list[tuple[ParameterBlock, Tensor]], step: int, want_distance: bool) -> _Stripe:
        """Noise and update of some blocks."""
        # Results go to arrays made beforehand: a result allocated per block would split the freed temporaries of the block before it, and
        # the allocator would then take new memory for every block, as much as the weights in all.
        squares, distances = torch.zeros(2, len(work), device=self._problem.space.device)
        sums = []
        source, scratch = self._noise[stripe], self._scratch[stripe]
        for i, (block, gradient) in enumerate(work):
            here = slice(block.start, block.stop)
            anchor, weights = self._problem.space.anchor_at(block), self.weights.flat[here]
            noise = source.fill(scratch[: block.stop - block.start], step, block.index)
            state = self._kernel.State(weights, **{name: v[here] for name, v in self._vectors.items()})
            torch.dot(gradient, gradient, out=squares[i])
            if self._config.save_metrics:
                sums.append(self._metrics(block, state, gradient, noise, anchor))
            self._kernel.step(state, gradient, noise, anchor, block.mask, self._config)
            self.weights.publish(block)
            if want_distance:
                away = weights - anchor
                torch.dot(away, away, out=distances[i])
        return _Stripe(squares, distances, torch.stack(sums).sum(0) if sums else None)

    def _metrics(self, block: ParameterBlock, state: Any, gradient: Tensor, noise: Tensor, anchor: Tensor) -> Float[Tensor, " 9"]:
        # G belongs to the updated state, so the update is made once on copies to read it.
        copies = self._kernel.State(*(getattr(state, f.name).clone() for f in fields(state)))
        after = self._kernel.step(copies, gradient, noise.clone(), anchor, block.mask, self._config)
        conditioner = self._kernel.conditioner(after, self._config)
        return metrics.parts_of_step(state.weights, gradient, noise, anchor, block.mask, conditioner, self._config)

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint of each chain holds."""
        vectors = {f"vector_{name}": v for name, v in self._vectors.items()}
        return [{**self.records[0].state(), "weights": self.weights.flat, **vectors}]

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Go on from checkpoints that `state` wrote; the record is restored by its owner."""
        (state,) = states
        self.weights.load(state["weights"].to(self.weights.flat.device))
        for name, vector in self._vectors.items():
            vector.copy_(state[f"vector_{name}"])


class _Stripe(NamedTuple):
    """What the update of some blocks measured, on the device: each block's |g|² and, if asked for, |w - w0|²; sums behind metrics."""

    squares: Float[Tensor, " blocks"]
    distances: Float[Tensor, " blocks"]
    metrics: Float[Tensor, " 9"] | None


def _sum(parts: NDArray[np.float32]) -> float:
    return float(torch.from_numpy(parts).double().sum())


@contextmanager
def intra_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside an operation, in this thread and those started meanwhile; put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
