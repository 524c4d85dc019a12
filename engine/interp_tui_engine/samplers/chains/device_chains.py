"""A stack of chains that steps many times before anything is read back: results wait on the device and come in one copy.

The numbers are those of `StackedChains`; which of the two steps a run is decided here. A chain that is no longer finite is seen at the next
copy and recorded at the step it failed at; what it did in between is ignored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch

from ...errors import out_of_memory
from ...kind import Interrupted
from ..batches import BatchOrder
from ..fused.update import FusedUpdate, UpdateName
from ..kernel import kernel_of
from ..noise import NoiseName, noise_source
from ..philox import PhiloxSource, StackedPhilox
from ..settings import SamplerConfig
from ..target.problem import ModuleTarget, SamplingTarget
from .graphs import Played, cuda_recorder
from .microbatch import Microbatch
from .record import ChainRecord
from .stacked_chains import StackedChains, add_init_noise, not_finite
from .static_step import RING, StaticStep, rows_in_order

_BURST_SECONDS = 0.05
"""Steps that are asked for at once take about this long at most."""


@final
class DeviceChains:
    """Chains c with the same c // width, stepping together; `step` takes up to `ahead` steps."""

    def __init__(
        self,
        static: StaticStep,
        config: SamplerConfig,
        records: Sequence[ChainRecord],
        pieces: Microbatch,
        noise: NoiseName,
        names: Sequence[str],
        by_step: Callable[[], StackedChains],
        update: UpdateName = "operations",
    ) -> None:
        """names: of the observables. by_step: makes the chains that go on, one step at a time, where memory runs out."""
        self._static, self._config, self._noise_name, self._names, self._by_step = static, config, noise, tuple(names), by_step
        self._host: StackedChains | None = None
        self.records = tuple(records)
        width = static.flat.shape[0]
        self._slots = {r.chain % width: r for r in records}
        self._begun, self.ahead = 0, 1
        self.want_distance = True
        self._steady, self._abandon = True, False
        self._now = 0
        self._set_noise(width, update)
        # torch's noise is seeded by the host at every step, which no recording can do
        recorder = cuda_recorder(static.space.device) if noise == "philox" else None
        self._plain, self._drawing = (Played(partial(static, draw), recorder, pieces.warn) for draw in (False, True))

    def _set_noise(self, width: int, update: UpdateName) -> None:
        static, seed, space = self._static, self._config.init_seed, self._static.space
        first = self.records[0].chain // width * width
        if self._config.init_noise:
            for slot, record in self._slots.items():
                source = noise_source(self._noise_name, seed, record.chain, space.starts, "init", space.device)
                add_init_noise(static.flat[slot], static.scratch[slot], source, static.mask, space, self._config.init_noise)
        if self._noise_name == "philox":
            numbers = StackedPhilox([PhiloxSource(seed, first + slot, space.starts, "step") for slot in range(width)], space.device)
            static.fill = partial(numbers.fill, static.scratch, static.number)
            if update == "kernel":
                static.fused = FusedUpdate(space, self._config, static.flat, static.vectors, numbers, gradient=static.gradient)
            return
        own = {slot: noise_source("torch", seed, record.chain, space.starts, "step", space.device) for slot, record in self._slots.items()}
        static.scratch.zero_()  # what slots without a chain keep

        def fill() -> None:
            for slot, source in own.items():
                for b in space.blocks:
                    source.fill(static.scratch[slot, b.start : b.stop], self._now, b.index)

        static.fill = fill

    @property
    def steady(self) -> bool:
        """Whether the state is that of the last step; of what steps in its place, where memory ran out."""
        return self._steady if self._host is None else self._host.steady

    @steady.setter
    def steady(self, value: bool) -> None:
        self._steady = value

    @property
    def abandon(self) -> bool:
        """Set to have it give up steps that it has not taken yet."""
        return self._abandon

    @abandon.setter
    def abandon(self, value: bool) -> None:
        self._abandon = value
        if self._host is not None:
            self._host.abandon = value

    @property
    def done(self) -> bool:
        return all(r.done for r in self.records)

    def step(self) -> None:
        """Up to `ahead` steps of every chain that is not done."""
        if self._host is not None:
            self._host.step()
            return
        (start,) = {r.now.step for r in self.records if not r.done}
        begun, taken, full = time.perf_counter(), 0, False
        self._steady = False
        for step in range(start, min(start + self.ahead, self._config.num_sgld_steps)):
            if self.abandon or full:
                break
            self._now, draw = step, self._config.draw_at(step) is not None
            try:
                (self._drawing if draw else self._plain)()
                taken += 1
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self._static.moved:
                    raise
                full = True
        if taken:
            self._read_back(start, taken)
            self.ahead = max(1, min(RING, int(_BURST_SECONDS * taken / max(1e-9, time.perf_counter() - begun))))
        if full:  # those that step one by one halve their micro-batches
            one_by_one = self._by_step()
            one_by_one.restore(self.state())
            one_by_one.abandon = self._abandon
            self._host, self.ahead = one_by_one, 1
        self._steady = True
        if self.abandon:
            raise Interrupted

    def _read_back(self, start: int, taken: int) -> None:
        """Hand what the steps left to the chains' records."""
        static = self._static
        host, sizes = static.ring.cpu().numpy(), [torch.Size(shape).numel() for shape in static.shapes]
        for step in range(start, start + taken):
            row, parts = host[(step - self._begun) % RING], []
            for shape, size in zip(static.shapes, sizes, strict=True):
                part, row = row[:size].reshape(shape), row[size:]
                parts.append(part)
            losses, norms, distances, *values = parts
            draw = self._config.draw_at(step)
            for slot, record in self._slots.items():
                if record.done:
                    continue
                if wrong := not_finite(losses[slot], norms[slot], distances[slot]):
                    record.fail(step, f"the {wrong} not finite")
                    continue
                for name, value in zip(self._names, values, strict=True) if draw is not None else ():
                    record.push(f"loss_{name}", draw or 0, value[slot].copy())
                record.stepped(step, losses[slot].copy(), losses[slot].size, float(norms[slot]), float(distances[slot]))
        for slot in range(static.flat.shape[0]):  # back to w0, so that their arithmetic stays finite and cheap
            if slot not in self._slots or not self._slots[slot].now.healthy:
                static.flat[slot] = static.anchor

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint of each chain holds."""
        if self._host is not None:
            return self._host.state()
        rows = []
        for slot, record in self._slots.items():
            vectors = {f"vector_{name}": v[slot].clone() for name, v in self._static.vectors.items()}
            rows.append({**record.state(), "weights": self._static.flat[slot].clone(), **vectors})
        return rows

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Go on from checkpoints that `state` wrote, in the order of `records`."""
        for (slot, record), state in zip(self._slots.items(), states, strict=True):
            if record.done:
                continue
            self._static.flat[slot] = state["weights"].to(self._static.flat.device)
            for name, vector in self._static.vectors.items():
                vector[slot] = state[f"vector_{name}"].to(vector.device)
            self._begin_at(record.now.step)

    def _begin_at(self, step: int) -> None:
        self._begun = step
        self._static.start_at(step)


def stacked_lane(
    problem: SamplingTarget,
    config: SamplerConfig,
    records: Sequence[ChainRecord],
    order: BatchOrder,
    pieces: Microbatch,
    mode: str,
    width: int,
    noise: NoiseName,
    update: UpdateName = "operations",
) -> StackedChains | DeviceChains:
    """Chains of one stack: with steps that need nothing of the host where the model has a stacked form, and what is measured allows it."""
    by_step = partial(StackedChains, problem, config, records, order, pieces, mode, width, noise, update)
    static = _static_step(problem, config, records, order, width) if mode == "stacked" and pieces.count == 1 else None
    if static is None:
        return by_step()
    return DeviceChains(static, config, records, pieces, noise, [o.name for o in problem.observables], by_step, update)


def _static_step(
    problem: SamplingTarget, config: SamplerConfig, records: Sequence[ChainRecord], order: BatchOrder, width: int
) -> StaticStep | None:
    """None where a step needs the host: to measure its parts or MALA's acceptance, for rows that the device cannot hold, or in halves."""
    if not isinstance(problem, ModuleTarget) or problem.stacked is None or config.save_metrics or config.acceptance_every:
        return None
    first = records[0].chain // width * width
    streams = [0] if config.match_sampling_input_ids_across_chains else range(first, first + width)
    rows = rows_in_order(problem.tokens, order, streams, problem.space.device)
    if rows is None:
        return None
    kernel = kernel_of(config.sampling_method)
    try:
        static = StaticStep(problem.stacked, problem.space, config, kernel, rows, problem.observables, width)
        if problem.space.device.type != "cpu":
            static.rehearse()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
    return static
