"""The loop over chains: what the outside asks for, what it is told, and how a run goes on after a kill."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.problem import SamplingTarget
from .anchor_loss import AnchorLoss
from .chain import intra_threads
from .executor import Executor
from .initial_loss import initial_loss, observed_losses
from .microbatch import Microbatch
from .record import ChainRecord, ChainSnapshot
from .saver import Saver
from .scheduler import ChainScheduler
from .store import ANCHOR, SampleStore
from .writer import BackgroundWriter

_LOOK_SECONDS = 0.02
"""How often commands are polled."""
_ROWS_AT_ONCE = 1 << 14


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
    baseline: what each of these is compared with, (chain, draw): the loss at w0 of the same rows, or of the first batches of the run
    (`SamplerConfig.baseline`); NaN where it is not known yet.
    rises: each chain's mean loss above its baseline over the steps after burn-in; None before there is one.
    seconds: spent computing by this process (pauses left out); tokens: predicted positions trained on, earlier attempts included.
    """

    chains: tuple[ChainSnapshot, ...]
    steps_per_chain: int
    init_loss: float
    trace: NDArray[np.float64]
    baseline: NDArray[np.float64]
    rises: tuple[float | None, ...]
    seconds: float
    tokens_per_second: float

    @property
    def rise(self) -> NDArray[np.float64]:
        """The loss above its baseline at each draw, (chain, draw): what every estimate is made of."""
        return self.trace - self.baseline

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


def run_chains(
    problem: SamplingTarget,
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
        problem: SamplingTarget,
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
        self._warnings: deque[str] = deque()  # chains warn from their threads, the caller is told from its own
        self._warn = warn
        self.pieces = Microbatch(config.batch_size, self._warnings.append)
        self.pieces.fixed = bool(problem.space.part)
        self.anchor = AnchorLoss(problem, config, self.order, self.pieces, folder)
        self._seconds = 0.0
        self.init_loss = float("nan")

    def go(
        self, checkpoint_every: float | None, poll: Callable[[], Command], report: Callable[[ChainsSnapshot], None], report_every: float
    ) -> ChainsResult:
        ex = self.executor
        with ExitStack() as stack:
            stack.enter_context(intra_threads(ex.intra_threads))
            self.writer = stack.enter_context(BackgroundWriter(self.store)) if self.store is not None else None
            helpers = None
            if ex.mode == "serial" and ex.intra_threads > 1 and self.problem.space.device.type == "cpu":
                pool = ThreadPoolExecutor(ex.intra_threads, "noise", initializer=torch.set_num_threads, initargs=(1,))
                helpers = stack.enter_context(pool)
            self.saver = None if self.problem.space.device.type == "cpu" else stack.enter_context(Saver())
            lanes = ChainScheduler(
                self.problem, self.config, ex, self.order, self.pieces, self.folder, self.writer, helpers, self.anchor, self.saver
            )
            self._prepare(lanes)
            lanes.start()
            try:
                self._steer(lanes, checkpoint_every, poll, report, report_every)
            finally:
                lanes.stop()
            self._close(lanes)
        self._drain_warnings()
        snapshot = self._snapshot()
        report(snapshot)
        return ChainsResult(snapshot, any(not r.done for r in self.records), ex)

    def _prepare(self, lanes: ChainScheduler) -> None:
        put = None if self.writer is None else self.writer.put
        arrays = {} if self.store is None else self.store.arrays
        self.records = tuple(ChainRecord(c, self.config, arrays, put) for c in self.chains)
        lanes.load(self.records)
        self._first_tokens = sum(r.now.tokens for r in self.records)
        per_position = initial_loss(self.problem, self.order, self.executor, self.folder, self.pieces, self.anchor)
        self.init_loss = float(per_position.mean(dtype=np.float64))
        if self.writer is not None:
            for record in self.records:
                self.writer.put("init_loss", (record.chain, slice(None)), per_position.astype(np.float32))
            self._write_rows()
        if 0 in self.chains and (self.writer is not None or self.problem.space.part):  # all that hold a part compute, one writes
            self._write_observed(observed_losses(self.problem, self.pieces))

    def _write_observed(self, observed: Mapping[str, NDArray[np.float32]]) -> None:
        """The observables' losses at w0, written by whoever runs chain 0; a resumed run computes the same again."""
        for name, losses in observed.items():
            if self.writer is not None:
                self.writer.put(f"init_loss_{name}", (slice(None), slice(None)), losses)

    def _write_rows(self) -> None:
        assert self.writer is not None
        batch, stretch = self.config.rows_per_step, _ROWS_AT_ONCE
        for start in range(0, self.config.num_sgld_steps, stretch):
            steps = range(start, min(start + stretch, self.config.num_sgld_steps))
            here = slice(steps.start, steps.stop)

            def rows(chain: int, steps: range = steps) -> NDArray[np.int64]:
                return torch.cat([b for s in steps for b in self.order.step(s, chain)]).view(len(steps), batch).numpy()

            if self.config.match_sampling_input_ids_across_chains:
                if 0 not in self.chains:  # whoever runs chain 0 writes what all chains share: one writer a file
                    return
                self.writer.put("sampling_rows_micro", (here, slice(None)), rows(0))
            else:
                for chain in self.chains:
                    self.writer.put("sampling_rows_micro", (chain, here, slice(None)), rows(chain))

    def _steer(
        self,
        lanes: ChainScheduler,
        every: float | None,
        poll: Callable[[], Command],
        report: Callable[[ChainsSnapshot], None],
        report_every: float,
    ) -> None:
        last = reported = saved = time.perf_counter()
        asked = Command.GO
        while lanes.alive and lanes.error is None and not lanes.stopping:
            lanes.look(_LOOK_SECONDS)
            now = time.perf_counter()
            if not lanes.paused:
                self._seconds += now - last
            last = now
            command = poll()
            newly = command is Command.CHECKPOINT and asked is not Command.CHECKPOINT
            asked = command
            with lanes.condition:
                lanes.paused = command is Command.PAUSE
                lanes.stopping |= command is Command.STOP
                if newly or (every is not None and now - saved >= every):
                    lanes.generation += 1
                    saved = now
                lanes.condition.notify_all()
            self._drain_warnings()
            if now - reported >= report_every:
                reported = now
                lanes.want_distances()
                report(self._snapshot())

    def _close(self, lanes: ChainScheduler) -> None:
        """After the threads have stopped: raise what went wrong, save what is unfinished, mark the store."""
        if lanes.error is not None:
            raise lanes.error
        if not all(r.done for r in self.records):
            lanes.save_unfinished()
        if self.saver is not None:
            self.saver.finish()
        if not all(r.done for r in self.records):
            return
        self._complete_anchor()
        if self.writer is not None and self.store is not None:
            self.writer.barrier()
            if set(self.chains) == set(range(self.config.num_chains)):
                self.store.finish(failures(self.records))

    def _complete_anchor(self) -> None:
        """Have the loss at w0 of every step, also of those that only chains of other workers took, and write it."""
        shared, alone = self.config.match_sampling_input_ids_across_chains, len(self.chains) == self.config.num_chains
        for record in self.records:
            if record.now.healthy or not alone:
                self.anchor.complete([record.chain])
        self.anchor.save()
        if self.writer is None or self.store is None or ANCHOR not in self.store.arrays or (shared and 0 not in self.chains):
            return
        steps = self.config.num_sgld_steps
        if shared:
            self.writer.put(ANCHOR, (slice(None),), self.anchor.of_steps(0, 0, steps))
        else:
            for chain in self.chains:
                self.writer.put(ANCHOR, (chain, slice(None)), self.anchor.of_steps(chain, 0, steps))

    def _drain_warnings(self) -> None:
        while self._warnings:
            self._warn(self._warnings.popleft())

    def _snapshot(self) -> ChainsSnapshot:
        chains = tuple(r.now for r in self.records)
        tokens = sum(c.tokens for c in chains) - self._first_tokens
        trace = np.stack([r.trace for r in self.records])
        rate = tokens / self._seconds if self._seconds > 0 else 0.0
        baseline = np.stack([self._baseline(c)[self.config.num_burnin_steps :: self.config.num_steps_bw_draws] for c in self.chains])
        rises = tuple(self._rise(c) for c in chains)
        return ChainsSnapshot(chains, self.config.num_sgld_steps, self.init_loss, trace, baseline, rises, self._seconds, rate)

    def _baseline(self, chain: int) -> NDArray[np.float64]:
        """What the loss of each step of a chain is compared with."""
        steps = self.config.num_sgld_steps
        return self.anchor.of_steps(chain, 0, steps) if self.anchor.wanted else np.full(steps, self.init_loss)

    def _rise(self, chain: ChainSnapshot) -> float | None:
        if chain.mean_loss is None:
            return None
        baseline = self._baseline(chain.chain)[self.config.num_burnin_steps : chain.step]
        baseline = baseline[np.isfinite(baseline)]  # the newest may still be in the making, by another chain's thread
        return chain.mean_loss - float(baseline.mean()) if baseline.size else None


def failures(records: Sequence[ChainRecord] | Sequence[ChainSnapshot]) -> dict[int, tuple[int, str]]:
    """chain -> (step, reason) of those that failed, as `SampleStore.finish` takes it."""
    failed = {}
    for item in records:
        now = item.now if isinstance(item, ChainRecord) else item
        if now.failed_step is not None and now.failed_reason is not None:
            failed[now.chain] = (now.failed_step, now.failed_reason)
    return failed
