"""What work will cost on this machine, before any model is loaded. Torch-free."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import psutil

from ..kind import PROCESS_BYTES
from ..manifest import Manifest
from ..models.parameter_count import parameter_count

START_SECONDS = 8.0
"""From the command to the first step: importing torch and transformers, loading a small model and tokenising."""

START_WITHOUT_TORCH = 1.5
"""Of a worker that reads files only."""

EFFICIENCY = 0.2
"""Share of the matrix-product rate that the shipped sampling examples reach from start to end; a step alone reaches twice that."""

ALONE = 96
"""Side of the largest square product that BLAS does on one core."""


BASE_BYTES = PROCESS_BYTES


@dataclass(frozen=True)
class Size:
    """A model's number of parameters, and what there is to say about it."""

    parameters: int
    notes: tuple[str, ...] = ()


def parameters_of(manifest: Manifest) -> Size | None:
    """The model's size from the headers of its files, without loading them; None for a hub model that was never fetched."""
    if manifest.model is None:
        return None
    count = parameter_count(manifest.model.source, manifest.model.revision)
    return Size(count) if count else None


@cache
def matmul_rate() -> float:
    """Float32 multiply-adds this machine does a second in matrix products on all cores, ×2; measured once, in about 20 ms.

    The best of many products too small to be shared out, times the cores: beside other work a product on all cores waits for the slowest of
    them, a hundred times longer than it computes, and the estimate would be of that.
    """
    import numpy as np

    a = np.ones((ALONE, ALONE), dtype=np.float32)
    a @ a
    best = 0.0
    end = time.perf_counter() + 0.02
    while (start := time.perf_counter()) < end or not best:
        a @ a
        best = max(best, 2 * ALONE**3 / (time.perf_counter() - start))
    return best * max(1, psutil.cpu_count(logical=False) or 1)


def seconds(flops: float) -> float:
    """Wall-clock seconds for the flops on this machine's CPU, start-up included."""
    return START_SECONDS + flops / (EFFICIENCY * matmul_rate())


def memory(parameters: int, step_tokens: int) -> int:
    """Peak resident bytes of a worker: the weights at w₀, then weights, gradient and activations for each chain that runs at once."""
    side_by_side = max(1, psutil.cpu_count(logical=False) or 1) if parameters < 20_000_000 else 1
    activations = 40 * step_tokens * int(parameters**0.5)
    return BASE_BYTES + 4 * parameters + side_by_side * (8 * parameters + activations)
