"""Working through a micro-batch in parts when it does not fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, final

import torch
from torch import Tensor

from ...errors import RunFailed, out_of_memory

T = TypeVar("T")


@final
class Microbatch:
    """Into how many parts a micro-batch is cut; doubled when memory runs out. Shared by all chains of a run."""

    def __init__(self, batch_size: int, warn: Callable[[str], None]) -> None:
        self.count = 1
        self.fixed = False
        """Whether it is never cut: several processes work through it in step, and only some of them would."""
        self._batch_size, self.warn = batch_size, warn

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The rows of one micro-batch in as many parts as are due now. rows: (b,) or (b, …)."""
        return torch.split(rows, -(-rows.shape[0] // self.count))

    def run(self, attempt: Callable[[], T]) -> T:
        """Call `attempt`, which uses `split` and changes nothing until it succeeds, until its parts fit in memory.

        Raises RunFailed when a single row does not fit.
        """
        while True:
            seen = self.count
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.fixed:
                    advice = "Use a smaller batch_size with gradient_accumulation_steps, a shorter context, or more devices a worker."
                    raise RunFailed("out of memory on one of the devices that hold the model", advice) from error
                if seen >= self._batch_size:
                    advice = "Use a shorter context, a smaller model, or fewer chains or latents."
                    raise RunFailed("out of memory with one row at a time", advice) from error
                self._halve(seen)

    def _halve(self, seen: int) -> None:
        if self.count == seen:  # another chain may have cut finer meanwhile
            self.count = seen * 2
            self.warn(f"out of memory: micro-batches now run in {self.count} parts of at most {-(-self._batch_size // self.count)} rows")
