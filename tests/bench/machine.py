"""What the machine is and can do: its names, how busy others keep it, and its own rate of float32 matrix products.

Rates are measured at a model's own shapes (`model_gflops`) and at a large square (`square_gflops`), with all threads inside one product
and with one single-threaded product a core side by side; the larger of the two counts, since a sampler may choose either way.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from .side import ROOT


def describe() -> dict[str, Any]:
    """Date, commit, processor, memory, versions."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "engine", "tui")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": git("rev-parse", "--short", "HEAD") + ("+changes" if changed else ""),
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = named.get("flags", "").split()
    wide = next((f for f in ("amx_tile", "avx512f", "avx2") if f in flags), "")
    return f"{named.get('model name', platform.processor())} ({wide})" if wide else named.get("model name", "")


def others_load(seconds: float = 1.0) -> float:
    """Cores that are busy while the bench itself sleeps: what the rest of the machine takes away."""
    return psutil.cpu_percent(seconds) / 100 * (psutil.cpu_count() or 1)


def _products(shapes: Sequence[tuple[int, int]], tokens: int) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """One step's products: forward and two of the backward pass for each weight, and the observable's forward."""
    found = []
    for (d_in, d_out), count in Counter((d_in, d_out) for d_in, d_out in shapes).items():
        x, w, g = torch.randn(tokens, d_in), torch.randn(d_out, d_in), torch.randn(tokens, d_out)
        found += [(x, w.T, 2 * count), (g, w, count), (g.T, x, count)]
    return found


def _sweep(work: list[tuple[torch.Tensor, torch.Tensor, int]], repeats: int) -> float:
    """Seconds for one step's products, each run `repeats` times into its own output."""
    total = 0.0
    for a, b, count in work:
        out = torch.mm(a, b)
        start = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        total += (time.perf_counter() - start) / repeats * count
    return total


def _flops(work: list[tuple[torch.Tensor, torch.Tensor, int]]) -> float:
    return sum(2.0 * a.shape[0] * a.shape[1] * b.shape[1] * count for a, b, count in work)


def gflops(shapes: Sequence[tuple[int, int]], tokens: int, repeats: int) -> dict[str, float]:
    """GFLOP/s of one step's products at these shapes: `one` thread, `all` threads in each product, and `beside` one another."""
    before, n = torch.get_num_threads(), cores()
    work = _products(shapes, tokens)
    found = {}
    for name, threads in (("one", 1), ("all", n)):
        torch.set_num_threads(threads)
        _sweep(work, 1)
        found[name] = _flops(work) / _sweep(work, repeats) / 1e9
    torch.set_num_threads(1)
    works = [work] + [_products(shapes, tokens) for _ in range(n - 1)]
    with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        seconds = list(pool.map(lambda w: _sweep(w, repeats), works))
    found["beside"] = sum(_flops(work) / s for s in seconds) / 1e9
    torch.set_num_threads(before)
    return found


def square_gflops(size: int = 1536) -> dict[str, float]:
    """The same at one square product: the machine's ceiling."""
    return gflops([(size, size)], size, 2)


def best(rates: dict[str, float]) -> float:
    """The rate that a flop limit is reckoned with: the best way of using all cores."""
    return max(rates["all"], rates["beside"])
