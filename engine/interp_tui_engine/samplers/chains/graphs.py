"""Steps recorded once and played again: one launch for a whole step where the device can record (CUDA graphs), plain calls elsewhere.

A graph replays kernels on the same memory: the step must be a function of static buffers (`static_step`), and must have run before, so that
what is made once (caches, workspaces) is not made while it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, final

import torch

WARM_UP = 3
"""Calls before a step is recorded."""

Step = Callable[[], None]


class Recorder(Protocol):
    """Records what a step launches."""

    def __call__(self, step: Step) -> Step:
        """What plays the step again. The step is not carried out while it is recorded."""


def cuda_recorder(device: torch.device) -> Recorder | None:
    """Records CUDA graphs; None off CUDA."""
    if device.type != "cuda":
        return None
    pool: list[Any] = []

    def record(step: Step) -> Step:
        with torch.cuda.device(device):
            graph = torch.cuda.CUDAGraph()
            # of this thread alone: another one writes checkpoints meanwhile, and its copies must not be refused
            with torch.cuda.graph(graph, pool=pool[0] if pool else None, capture_error_mode="thread_local"):
                step()
            pool.append(graph.pool())
        replay: Step = graph.replay
        return replay

    return record


@final
class Played:
    """A step that is recorded after its warm-up, and played from then on. Where recording fails it goes on as it was, and says why."""

    def __init__(self, step: Step, recorder: Recorder | None, warn: Callable[[str], None]) -> None:
        self._step, self._recorder, self._warn = step, recorder, warn
        self._calls = 0
        self._play: Step | None = None

    @property
    def recorded(self) -> bool:
        return self._play is not None

    def __call__(self) -> None:
        """Carry out the step once."""
        if self._play is not None:
            self._play()
            return
        if self._recorder is not None and self._calls >= WARM_UP:
            try:
                self._play = self._recorder(self._step)
            except Exception as error:
                self._recorder = None
                reason = str(error).partition("\n")[0][:300]
                self._warn(f"steps are launched operation by operation, the device could not record one: {reason}")
            else:
                self._play()
                return
        self._calls += 1
        self._step()
