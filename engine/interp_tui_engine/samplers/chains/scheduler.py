"""Chains that take turns, in worker threads or in the calling one, and are put down on disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final

import torch

from ...errors import RunFailed
from ...kind import Interrupted
from ..batches import BatchOrder
from ..settings import SamplerConfig
from ..target.problem import SamplingTarget
from . import checkpoint
from .anchor_loss import AnchorLoss
from .chain import Chain, NonFinite
from .device_chains import stacked_lane
from .executor import STACKED, Executor
from .microbatch import Microbatch
from .record import ChainRecord
from .saver import Saver, on_host
from .writer import BackgroundWriter

_STEP_PATIENCE = 1.5
"""Seconds to wait for steps to end after a stop, and then for those that were given up."""
_TURN_SECONDS = 0.05
"""A chain keeps its thread for at least this long before the next takes a turn."""


class Lane(Protocol):
    """Chains that step together: one, or a stack."""

    want_distance: bool
    steady: bool
    """Whether its state is that of its last step, so that it can be saved, also in the middle of the next one."""
    ahead: int
    """How many steps the next call of `step` may take."""
    abandon: bool
    """Set to have it give up a step that it has not taken yet."""

    @property
    def records(self) -> tuple[ChainRecord, ...]: ...
    @property
    def done(self) -> bool: ...
    def step(self) -> None: ...
    def state(self) -> list[dict[str, Any]]: ...
    def restore(self, states: list[dict[str, Any]]) -> None: ...


@final
class ChainScheduler:
    """All chains of a run, the few that are in memory, and the threads that step them.

    One worker is the calling thread itself, which takes a turn in `look`. A thread of its own would bring a second OpenMP team into the
    process; with more threads than cores libgomp's barriers sleep instead of spinning, and a step of SmolLM2 takes 2.05 s, not 1.75.

    The calling thread sets `paused`, `stopping` and `generation` (raise it to have every chain checkpointed) under `condition`.
    """

    def __init__(
        self,
        problem: SamplingTarget,
        config: SamplerConfig,
        executor: Executor,
        order: BatchOrder,
        pieces: Microbatch,
        folder: Path | None,
        writer: BackgroundWriter | None,
        helpers: ThreadPoolExecutor | None,
        anchor: AnchorLoss,
        saver: Saver | None = None,
    ) -> None:
        self._problem, self._config, self._executor, self._order, self._pieces = problem, config, executor, order, pieces
        self._anchor = anchor
        self._folder, self._writer, self._helpers, self._saver = folder, writer, helpers, saver
        self.condition = threading.Condition()
        self.paused = self.stopping = False
        self.generation = 0
        self.error: BaseException | None = None
        self._ready: deque[Lane] = deque()
        self._waiting: deque[tuple[tuple[ChainRecord, ...], list[dict[str, Any]] | None]] = deque()
        self._stepping: list[Lane] = []
        """Those that a thread has in hand."""
        self._saved: dict[int, int] = {}
        space = problem.space
        self._turn_seconds = 0.0 if space.part else _TURN_SECONDS
        """Processes that step together look up after every step: their clocks differ."""
        self._files = None if folder is None else checkpoint.ChainFiles(folder, space)
        self._inline = executor.workers == 1
        self._threads: list[threading.Thread] = []

    def load(self, records: Sequence[ChainRecord]) -> None:
        """Group the chains into lanes, and put each where its checkpoint left it."""
        groups: dict[int, list[ChainRecord]] = {}
        for record in records:
            groups.setdefault(record.chain // self._executor.width, []).append(record)
        for group in groups.values():
            states = self._checkpoint(group)
            if not all(r.done for r in group):
                self._waiting.append((tuple(group), states))

    def _checkpoint(self, group: Sequence[ChainRecord]) -> list[dict[str, Any]] | None:
        """The chains' states. A stack that several processes had parts of is put together, which can be done when all have ended."""
        kept = [] if self._files is None else [self._files.load(record.chain) for record in group]
        groups = [saved for saved in kept if saved is not None]
        if not groups:
            return None
        chains, *how = self._identity(group)
        if [chain for saved in groups for chain in saved["of"][0]] != chains or any(saved["of"][1:] != how for saved in groups):
            what = f"the checkpoint of chain {group[0].chain} is of another configuration"
            raise RunFailed(what, "Remove the checkpoint folder to start over.")
        states: list[dict[str, Any]] = [state for saved in groups for state in saved["chains"]]
        for record, state in zip(group, states, strict=True):
            record.restore(state)
        self._pieces.count = max(self._pieces.count, *(int(saved["pieces"]) for saved in groups))
        return states

    def _identity(self, group: Sequence[ChainRecord]) -> list[Any]:
        """What a checkpoint must agree with: who is in it, how many weights, and what else a chain's numbers depend on."""
        ex = self._executor
        other: list[str] = [] if ex.noise == "torch" else [ex.noise]  # checkpoints of before there was a choice name none
        other += [part] if (part := self._problem.space.part) else []
        return [[r.chain for r in group], self._problem.space.numel, ex.mode, ex.intra_threads, ex.width, *other]

    def start(self) -> None:
        """Bring the first chains into memory and start the threads."""
        for _ in range(max(self._executor.workers, self._executor.resident // self._executor.width)):
            self._admit()
        threads = 0 if self._inline else self._executor.workers
        self._threads = [threading.Thread(target=self._work, name=f"chains-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether some chain still has steps to take."""
        return bool(self._ready or self._waiting) if self._inline else any(t.is_alive() for t in self._threads)

    def look(self, seconds: float) -> None:
        """Let the calling thread pass some time: a turn when it is the worker, else up to `seconds` of sleep."""
        if self._inline and not self.paused:
            self._take_turn()
        else:
            with self.condition:
                self.condition.wait(seconds)

    def stop(self) -> None:
        """Have the threads end after their current step, and wait for them; a step that takes long is given up where it can be."""
        with self.condition:
            self.stopping = True
            self.condition.notify_all()
        self._join(_STEP_PATIENCE)
        with self.condition:
            for lane in self._stepping:
                lane.abandon = True
        self._join(_STEP_PATIENCE)

    def _join(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def save_unfinished(self) -> None:
        """Checkpoint the chains that are in memory; only after `stop`. One that is still in the middle of a step keeps its state until
        it is through with the gradient, and gives up then; one caught while its weights change keeps its last checkpoint."""
        with self.condition:
            lanes = [*self._ready, *(lane for lane in self._stepping if lane.abandon and lane.steady)]
        for lane in lanes:
            self._save(lane)

    def want_distances(self) -> None:
        """Have each chain measure |w - w0| at its next step."""
        for lane in list(self._ready):
            lane.want_distance = True

    def _admit(self) -> None:
        if not self._waiting:
            return
        records, states = self._waiting.popleft()
        ex = self._executor
        lane: Lane
        if ex.mode in STACKED:
            lane = stacked_lane(self._problem, self._config, records, self._order, self._pieces, ex.mode, ex.width, ex.noise, ex.update)
        else:
            how = self._helpers, ex.intra_threads, ex.noise, ex.update
            lane = Chain(self._problem, self._config, records[0], self._order, self._pieces, *how)
        if states is not None:
            lane.restore(states)
        self._ready.append(lane)

    def _work(self) -> None:
        torch.set_num_threads(self._executor.intra_threads)
        while self._take_turn():
            pass

    def _take_turn(self) -> bool:
        """A turn of the next chain; False when there is none to be had. An error is kept for the calling thread."""
        if (lane := self._next()) is None:
            return False
        try:
            self._turn(lane)
            with self.condition:
                self._stepping.remove(lane)
                finished = lane.done
                if not finished:
                    self._ready.append(lane)
                lane = None  # a finished chain's weights go before the next chain's come
                if finished:
                    self._admit()
                self.condition.notify_all()
            return True
        except Interrupted:
            with self.condition:
                self.stopping = True
                if lane is not None and lane.steady:
                    self._stepping.remove(lane)
                    self._ready.append(lane)
                self.condition.notify_all()
            return False
        except BaseException as error:  # raised again by the calling thread
            with self.condition:
                if lane in self._stepping:
                    self._stepping.remove(lane)
                self.error = self.error or error
                self.condition.notify_all()
            return False

    def _next(self) -> Lane | None:
        with self.condition:
            while True:
                if self.stopping or self.error is not None:
                    return None
                if self._ready and not self.paused:
                    self._stepping.append(self._ready.popleft())
                    return self._stepping[-1]
                if not self._ready and not self._waiting and not self._stepping:
                    self.condition.notify_all()
                    return None
                self.condition.wait(0.2)

    def _turn(self, lane: Lane) -> None:
        begun = time.perf_counter()
        while not lane.done:
            for record in lane.records:
                if not record.done:
                    for step in range(record.now.step, min(record.now.step + lane.ahead, self._config.num_sgld_steps)):
                        self._anchor.cover(step, record.chain)
            try:
                lane.step()
            except NonFinite as error:
                (record,) = lane.records
                record.fail(record.now.step, str(error))
            if lane.done or self._saved.get(lane.records[0].chain, 0) < self.generation:
                self._save(lane)
            if self.paused or self.stopping or time.perf_counter() - begun >= self._turn_seconds:
                return

    def _save(self, lane: Lane) -> None:
        """One file a lane: the chains of a stack must not be found at different steps."""
        first = lane.records[0].chain
        self._saved[first] = self.generation
        if self._folder is None:
            return
        self._anchor.save()
        states = lane.state()
        if lane.done:  # nothing will go on from it: its weights need no space
            states = [{k: v for k, v in s.items() if k != "weights" and not k.startswith("vector_")} for s in states]
        saved = {"of": self._identity(lane.records), "pieces": self._pieces.count, "chains": states}
        if self._saver is None:
            self._write(first, saved)
        else:  # the device steps on while a copy of the state is written
            self._saver.do(partial(self._write, first, on_host(saved)))

    def _write(self, chain: int, saved: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.barrier()
        assert self._files is not None, "who has a folder has files"
        self._files.save(chain, saved)
