"""The loop over chains: who steps next, what the outside asks for, what is written down, and how a run goes on after a kill."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import RunFailed
from . import checkpoint
from .batches import BatchOrder
from .chain import Chain, NonFinite, Pieces, intra_threads, out_of_memory
from .executor import Executor
from .initial import initial_loss
from .problem import Problem
from .record import ChainRecord, ChainSnapshot
from .settings import SamplerConfig
from .stacked import StackedChains
from .store import SampleStore
from .writer import BackgroundWriter

_TURN_SECONDS = 0.05
"""A chain keeps its thread for at least this long before the next takes a turn."""
_LOOK_SECONDS = 0.02
"""How often commands are polled."""


class Command(Enum):
    """What the outside wants between two steps."""

    GO = "go"
    PAUSE = "pause"
    CHECKPOINT = "checkpoint"
    STOP = "stop"


@dataclass(frozen=True)
class ChainsSnapshot:
    """All chains at one moment.

    trace: mean loss of the step behind each draw, (chain, draw), nats, NaN where there is none yet or the chain failed.
    seconds: spent computing by this process (pauses left out); tokens: predicted positions trained on, earlier attempts included.
    """

    chains: tuple[ChainSnapshot, ...]
    steps_per_chain: int
    init_loss: float
    trace: NDArray[np.float64]
    seconds: float
    tokens_per_second: float

    @property
    def steps_done(self) -> int:
        """Steps over all chains; a failed chain counts as finished."""
        return sum(c.step if c.healthy else self.steps_per_chain for c in self.chains)


@dataclass(frozen=True)
class ChainsResult:
    """The last snapshot, and whether a stop cut the run short (then checkpoints hold everything needed to go on)."""

    snapshot: ChainsSnapshot
    interrupted: bool
    executor: Executor


class _Lane(Protocol):
    """Chains that step together: one, or a stack."""

    want_distance: bool

    @property
    def records(self) -> tuple[ChainRecord, ...]: ...
    @property
    def done(self) -> bool: ...
    def step(self) -> None: ...
    def state(self) -> list[dict[str, Any]]: ...
    def restore(self, states: list[dict[str, Any]]) -> None: ...


def run_chains(
    problem: Problem,
    config: SamplerConfig,
    *,
    chains: Sequence[int],
    store: SampleStore | None,
    executor: Executor,
    checkpoint_dir: Path | None,
    checkpoint_every: float | None,
    poll: Callable[[], Command],
    report: Callable[[ChainsSnapshot], None],
    report_every: float,
    warn: Callable[[str], None],
) -> ChainsResult:
    """Sample these chains of the run, from their checkpoints in `checkpoint_dir` if there are any.

    Each chain's arrays go to its rows of `store`; the store is marked complete when these are all the chains of the run (else whoever
    joins the shards calls `store.finish`). `poll`, `report` and `warn` are called from the calling thread, `report` at least every
    `report_every` seconds and once at the end. A chain that goes non-finite is recorded and left out; the others go on.

    Raises RunFailed when the disk is full or memory does not hold a single row; checkpoints are intact then.
    """
    return _Run(problem, config, chains, store, executor, checkpoint_dir, warn).go(checkpoint_every, poll, report, report_every)


@final
class _Run:
    def __init__(
        self,
        problem: Problem,
        config: SamplerConfig,
        chains: Sequence[int],
        store: SampleStore | None,
        executor: Executor,
        folder: Path | None,
        warn: Callable[[str], None],
    ) -> None:
        self.problem, self.config, self.store, self.executor, self.folder = problem, config, store, executor, folder
        self.chains = tuple(chains)
        self.order = BatchOrder(problem.rows, config)
        self.pieces = Pieces(1)
        self._warnings: deque[str] = deque()
        self._warn = warn
        self._condition = threading.Condition()
        self._ready: deque[_Lane] = deque()
        self._waiting: deque[tuple[ChainRecord, ...]] = deque()
        self._running = 0
        self._paused = self._stopping = False
        self._generation = 0
        self._saved: dict[int, int] = {}
        self._error: BaseException | None = None
        self._seconds = 0.0
        self._first_tokens = 0
        self.init_loss = float("nan")

    def go(
        self, checkpoint_every: float | None, poll: Callable[[], Command], report: Callable[[ChainsSnapshot], None], report_every: float
    ) -> ChainsResult:
        ex = self.executor
        with ExitStack() as stack:
            stack.enter_context(intra_threads(ex.intra_threads))
            self.writer = stack.enter_context(BackgroundWriter(self.store)) if self.store is not None else None
            helpers = max(1, ex.intra_threads) if ex.mode != "vmap" else 1
            self.helpers = None
            if helpers > 1 and ex.workers == 1:
                pool = ThreadPoolExecutor(helpers, "noise", initializer=torch.set_num_threads, initargs=(1,))
                self.helpers = stack.enter_context(pool)
            self._prepare()
            threads = [threading.Thread(target=self._work, name=f"chains-{i}", daemon=True) for i in range(ex.workers)]
            for thread in threads:
                thread.start()
            try:
                self._steer(threads, checkpoint_every, poll, report, report_every)
            finally:
                with self._condition:
                    self._stopping = True
                    self._condition.notify_all()
                for thread in threads:
                    thread.join()
            self._close()
        self._drain_warnings()
        interrupted = any(not r.done for r in self.records)
        snapshot = self._snapshot()
        report(snapshot)
        return ChainsResult(snapshot, interrupted, ex)

    def _prepare(self) -> None:
        put = None if self.writer is None else self.writer.put
        arrays = {} if self.store is None else self.store.arrays
        self.records = tuple(ChainRecord(c, self.config, arrays, put) for c in self.chains)
        self._found: dict[int, dict[str, Any]] = {}
        for record in self.records:
            state = None if self.folder is None else checkpoint.load(checkpoint.chain_file(self.folder, record.chain))
            if state is not None:
                if state["numel"] != self.problem.space.numel or state["executor"] != _numerics(self.executor):
                    raise RunFailed(
                        f"the checkpoint of chain {record.chain} is of another configuration", "Remove the checkpoint folder to start over."
                    )
                record.restore(state)
                self._found[record.chain] = state
                self.pieces.count = max(self.pieces.count, int(state["pieces"]))
        self._first_tokens = sum(r.now.tokens for r in self.records)
        per_position = initial_loss(self.problem, self.order, self.executor, self.folder, self.pieces, self._warnings.append)
        self.init_loss = float(per_position.mean(dtype=np.float64))
        if self.writer is not None:
            for record in self.records:
                self.writer.put("init_loss", (record.chain, slice(None)), per_position.astype(np.float32))
            self._write_rows()
        width = self.executor.width
        groups: dict[int, list[ChainRecord]] = {}
        for record in self.records:
            groups.setdefault(record.chain // width, []).append(record)
        self._waiting.extend(tuple(g) for g in groups.values() if not all(r.done for r in g))
        for _ in range(max(self.executor.workers, self.executor.resident // width)):
            self._admit()

    def _write_rows(self) -> None:
        assert self.writer is not None
        batch, stretch = self.config.rows_per_step, 1 << 14
        for start in range(0, self.config.num_sgld_steps, stretch):
            steps = range(start, min(start + stretch, self.config.num_sgld_steps))
            here = slice(steps.start, steps.stop)

            def rows(chain: int, steps: range = steps) -> NDArray[np.int64]:
                return torch.cat([b for s in steps for b in self.order.step(s, chain)]).view(len(steps), batch).numpy()

            if self.config.match_sampling_input_ids_across_chains:
                self.writer.put("sampling_rows_micro", (here, slice(None)), rows(0))
            else:
                for chain in self.chains:
                    self.writer.put("sampling_rows_micro", (chain, here, slice(None)), rows(chain))

    def _admit(self) -> None:
        """Bring the next waiting chains into memory."""
        if not self._waiting:
            return
        records = self._waiting.popleft()
        ex = self.executor
        lane: _Lane
        if ex.mode == "vmap":
            lane = StackedChains(self.problem, self.config, records, self.order, self.pieces, ex.width)
        else:
            lane = Chain(self.problem, self.config, records[0], self.order, self.pieces, self.helpers, ex.intra_threads)
        states = [self._found.pop(r.chain, None) for r in records]
        if any(s is not None for s in states):
            lane.restore([s for s in states if s is not None])
        self._ready.append(lane)

    # Worker threads

    def _work(self) -> None:
        torch.set_num_threads(self.executor.intra_threads)
        try:
            while (lane := self._next()) is not None:
                self._turn(lane)
                with self._condition:
                    self._running -= 1
                    if lane.done:
                        self._admit()
                    else:
                        self._ready.append(lane)
                    self._condition.notify_all()
        except BaseException as error:  # raised again by the calling thread
            with self._condition:
                self._running -= 1
                self._error = self._error or error
                self._condition.notify_all()

    def _next(self) -> _Lane | None:
        with self._condition:
            while True:
                if self._stopping or self._error is not None:
                    return None
                if self._ready and not self._paused:
                    self._running += 1
                    return self._ready.popleft()
                if not self._ready and not self._waiting and self._running == 0:
                    self._condition.notify_all()
                    return None
                self._condition.wait(0.2)

    def _turn(self, lane: _Lane) -> None:
        begun = time.perf_counter()
        while not lane.done:
            self._step(lane)
            if lane.done or self._saved.get(id(lane), 0) < self._generation:
                self._save(lane)
            if self._paused or self._stopping or time.perf_counter() - begun >= _TURN_SECONDS:
                return

    def _step(self, lane: _Lane) -> None:
        while True:
            seen = self.pieces.count
            try:
                return lane.step()
            except NonFinite as error:
                lane.records[0].fail(lane.records[0].now.step, str(error))
                return
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if not self.pieces.halve(seen, self.config.batch_size, self._warnings.append):
                    raise RunFailed(
                        "out of memory with one row at a time", "Use a shorter context, a smaller model or fewer chains."
                    ) from error

    def _save(self, lane: _Lane) -> None:
        self._saved[id(lane)] = self._generation
        if self.folder is None:
            return
        states = lane.state()
        if self.writer is not None:
            self.writer.barrier()
        for record, state in zip(lane.records, states, strict=True):
            if record.done:  # nothing will go on from it: its weights need no space
                state = {k: v for k, v in state.items() if k != "weights" and not k.startswith("vector_")}
            extra = {"numel": self.problem.space.numel, "executor": _numerics(self.executor)}
            checkpoint.save(checkpoint.chain_file(self.folder, record.chain), {**state, **extra})

    # The calling thread

    def _steer(
        self,
        threads: list[threading.Thread],
        every: float | None,
        poll: Callable[[], Command],
        report: Callable[[ChainsSnapshot], None],
        report_every: float,
    ) -> None:
        last = reported = saved = time.perf_counter()
        asked = Command.GO
        while any(t.is_alive() for t in threads) and self._error is None:
            with self._condition:
                self._condition.wait(_LOOK_SECONDS)
            now = time.perf_counter()
            if not self._paused:
                self._seconds += now - last
            last = now
            command = poll()
            with self._condition:
                self._paused = command is Command.PAUSE
                if (command is Command.CHECKPOINT and asked is not Command.CHECKPOINT) or (every is not None and now - saved >= every):
                    self._generation += 1
                    saved = now
                if command is Command.STOP:
                    self._stopping = True
                self._condition.notify_all()
            asked = command
            self._drain_warnings()
            if now - reported >= report_every:
                reported = now
                for lane in list(self._ready):
                    lane.want_distance = True
                report(self._snapshot())
            if self._stopping:
                return

    def _close(self) -> None:
        """After the threads have stopped: save what is unsaved, raise what went wrong, mark the store."""
        if self._error is not None:
            raise self._error
        if not all(r.done for r in self.records):
            for lane in self._ready:
                self._save(lane)
            return
        if self.writer is not None and self.store is not None:
            self.writer.barrier()
            if set(self.chains) == set(range(self.config.num_chains)):
                self.store.finish(failures(self.records))

    def _drain_warnings(self) -> None:
        while self._warnings:
            self._warn(self._warnings.popleft())

    def _snapshot(self) -> ChainsSnapshot:
        chains = tuple(r.now for r in self.records)
        tokens = sum(c.tokens for c in chains) - self._first_tokens
        trace = np.stack([r.trace for r in self.records])
        rate = tokens / self._seconds if self._seconds > 0 else 0.0
        return ChainsSnapshot(chains, self.config.num_sgld_steps, self.init_loss, trace, self._seconds, rate)


def failures(records: Sequence[ChainRecord] | Sequence[ChainSnapshot]) -> dict[int, tuple[int, str]]:
    """chain -> (step, reason) of those that failed, as `SampleStore.finish` takes it."""
    found = {}
    for item in records:
        now = item.now if isinstance(item, ChainRecord) else item
        if now.failed_step is not None and now.failed_reason is not None:
            found[now.chain] = (now.failed_step, now.failed_reason)
    return found


def _numerics(executor: Executor) -> list[Any]:
    """The part of the setting that a chain's numbers depend on."""
    return [executor.mode, executor.intra_threads, executor.width]
