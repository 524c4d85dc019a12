"""Files written on a thread of their own, so that a device need not wait for the disk."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, final

import torch


@final
class Saver:
    """Runs jobs one after another in a thread. A context manager: leaving it waits for them all. An error surfaces at the next call."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(2)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)

    def __enter__(self) -> Saver:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()
        if kind is None:
            self._check()

    def do(self, job: Callable[[], None]) -> None:
        """Queue a job; waits where two are queued already, so that copies do not pile up in memory."""
        self._check()
        self._jobs.put(job)

    def finish(self) -> None:
        """Return when all that was queued is done."""
        self._jobs.join()
        self._check()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:  # handed to the thread that asked
                self._error = error
            finally:
                self._jobs.task_done()

    def _check(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def on_host(value: Any) -> Any:
    """Values with their tensors copied to the CPU; those that lie there already are the same ones."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: on_host(inside) for key, inside in value.items()}
    return type(value)(on_host(inside) for inside in value) if isinstance(value, (list, tuple)) else value
