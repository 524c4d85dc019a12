"""Noise and update alone: our block-wise kernel against plain PyTorch, without a model.

Plain: `normal_` on a buffer for each parameter, then the SGLD update by `torch._foreach_*` over all of them. Both move the same parameter
shapes with the same settings (localised SGLD) in this process, taking turns; each turn is several steps and its time is per step. Ours
includes the gradient norm that a run reports; with more than one thread its blocks are shared out over them, as in a serial run.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains.chain import Chain
from interp_tui_engine.samplers.chains.microbatch import Microbatch
from interp_tui_engine.samplers.chains.record import ChainRecord
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import FunctionTarget

from . import machine
from .figures import Figure, of_rounds, ratio
from .shapes import SHAPES, build

Tensors = dict[str, torch.Tensor]

CONFIG = SamplerConfig(lr=1e-4, n_beta=30.0, localization=100.0, num_chains=1, num_draws=1_000_000, batch_size=1)


class Plain:
    """The update a user would write."""

    def __init__(self, parameters: Tensors, gradients: Tensors) -> None:
        self._weights = [p.clone() for p in parameters.values()]
        self._anchor = list(parameters.values())
        self._gradients = [gradients[name] for name in parameters]
        self._noise = [torch.empty_like(p) for p in self._weights]

    @torch.no_grad()
    def step(self, step: int) -> None:
        half = CONFIG.lr / 2
        for n in self._noise:
            n.normal_()
        torch._foreach_mul_(self._noise, CONFIG.lr**0.5)
        torch._foreach_add_(self._noise, self._gradients, alpha=-half * CONFIG.n_beta)
        away = torch._foreach_sub(self._weights, self._anchor)
        torch._foreach_add_(self._noise, away, alpha=-half * CONFIG.localization)
        torch._foreach_add_(self._weights, self._noise)


def _chain(parameters: Tensors, gradients: Tensors, threads: int, helpers: ThreadPoolExecutor | None) -> Chain:
    problem = FunctionTarget(lambda leaves, batch: batch.float()[:, None], parameters, torch.zeros(4), {}, 1)  # type: ignore[union-attr,arg-type]
    chain = Chain(problem, CONFIG, ChainRecord(0, CONFIG, {}, None), BatchOrder(4, CONFIG), Microbatch(4, print), helpers, threads)
    for name, leaf in chain.weights.leaves.items():
        if leaf.grad is None:
            leaf.grad = gradients[name].clone()
        else:
            leaf.grad.copy_(gradients[name])
    return chain


def run(quick: bool) -> dict[str, Any]:
    """Milliseconds a step for both sizes, with one thread and with all cores."""
    figures: list[Figure] = []
    for name in ("tiny", "smollm2"):
        with torch.device("meta"):
            shapes = {n: p.shape for n, p in build(SHAPES[name]).named_parameters()}
        parameters = {n: torch.randn(s) * 0.02 for n, s in shapes.items()}
        gradients = {n: torch.randn(s) * 0.01 for n, s in shapes.items()}
        steps = (2 if quick else 50) if name == "tiny" else (1 if quick else 3)
        for threads in sorted({1, machine.cores()}):
            figures += _compare(name, parameters, gradients, threads, steps, 2 if quick else 9)
    return {"figures": figures}


def _compare(name: str, parameters: Tensors, gradients: Tensors, threads: int, steps: int, rounds: int) -> list[Figure]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        chain = _chain(parameters, gradients, threads, pool if threads > 1 else None)
        plain = Plain(parameters, gradients)
        found: dict[str, list[float]] = {"ours": [], "plain": []}
        for turn in range(rounds + 1):
            for who, do in (("ours", chain._update), ("plain", plain.step)):
                start = time.perf_counter()
                for i in range(steps):
                    do(turn * steps + i)
                if turn:  # the first warms up
                    found[who].append((time.perf_counter() - start) / steps * 1e3)
    torch.set_num_threads(before)
    total = sum(p.numel() for p in parameters.values())
    label = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
    return [
        of_rounds(f"{label}: ours", found["ours"], "ms", note=f"{total / 1e6:.1f} M numbers"),
        of_rounds(f"{label}: plain normal_ + foreach", found["plain"], "ms"),
        ratio(f"{label}: plain / ours", found["plain"], found["ours"]),
    ]
