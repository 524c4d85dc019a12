"""How chains run: side by side on threads, stacked into one batch (by vmap or by the model's stacked form), or one after another.

The choice is a value: recorded with the run, since a chain's numbers depend on it (sums are taken in another order), and on nothing
else but the chain's seed: not on how many chains there are, nor on which of them this process runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, final

from ...errors import UserError
from ...models.device import free_memory
from ..fused.available import why_not
from ..fused.update import UpdateName
from ..kernel import vectors_of
from ..noise import NoiseName, choose_noise
from ..settings import SamplerConfig
from ..target.problem import SamplingTarget
from .launches import launches_of

Mode = Literal["threads", "stacked", "vmap", "serial"]
STACKED: tuple[Mode, ...] = ("stacked", "vmap")
"""Modes in which `width` chains step as one."""

_LARGE_STATE_BYTES = 256 << 20
"""Above this, one chain's matrices are big enough to occupy all cores, and a second chain's weights and gradients cost real memory."""
_RESIDENT_BYTES = 1 << 30
"""Chains take turns while their states together stay below this; larger ones run one after another."""
_WIDTH = 4
_LAUNCH_SECONDS = 5e-6
_SMALL_MODEL_FLOPS = 2e13
"""A GPU's rate on the small matrices of a model for which launches matter at all."""
_ARRAYS = 2
"""How often a stack holds what one chain does: noise, anchor and differences beside weights and gradients."""
_WORTH_TRYING_SECONDS = 0.02
"""Arithmetic of a step above which launches are no matter, and no trial is made."""


@final
@dataclass(frozen=True)
class Executor:
    """workers: steps computed at once; intra_threads: torch's threads inside each; width: chains stacked per step;
    resident: chains whose weights are in memory at once; noise: which numbers; update: how they are applied. What is sampled depends on
    mode, intra_threads, width, noise and (in the last bits) update only."""

    mode: Mode
    workers: int
    intra_threads: int
    width: int
    resident: int
    noise: NoiseName = "torch"
    update: UpdateName = "operations"

    def record(self) -> dict[str, Any]:
        """As plain data, for a manifest."""
        return asdict(self)

    def among(self, processes: int, chains: int) -> Executor:
        """This executor in one of several processes that share the machine, with so many of the chains: the numbers stay the same."""
        if self.mode in STACKED:
            return self
        workers = max(1, min(self.workers // processes, chains))
        return replace(self, workers=workers, resident=max(workers, min(self.resident // processes, chains)))


def chain_bytes(problem: SamplingTarget, config: SamplerConfig) -> int:
    """Bytes that one resident chain's vectors take (weights and the sampler's own; gradients come and go)."""
    vectors = 1 + len(vectors_of(config.sampling_method))
    return problem.space.size * 4 * vectors


def choose_executor(
    problem: SamplingTarget,
    config: SamplerConfig,
    chains: Sequence[int],
    requested: Literal["auto"] | Mode = "auto",
    cores: int | None = None,
    memory: int | None = None,
    noise: Literal["auto"] | NoiseName = "auto",
    update: Literal["auto"] | UpdateName = "auto",
    parts: bool = False,
) -> Executor:
    """Pick by estimate. cores: all that this process may use when None; memory: bytes free for chains, measured when None.

    parts: whether parts of the problem's weights are sampled by the same executor, for which a model's stacked form is not.

    CPU: threads when there are chains and cores for it and two chains fit; a GPU that would mostly wait for launches: the model's stacked
    form where it has one, or vmap, if a trial shows that it works here and launches less; else serial. An update by the kernel where it
    can be made (`fused.available`), unless told otherwise.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if memory is None:
        memory = free_memory(problem.space.device) // 2
    state, space, n = chain_bytes(problem, config), problem.space, len(chains)
    on_cpu = space.device.type == "cpu"
    busy = state + 4 * space.size  # a chain that is computing holds gradients too
    mode, width = requested, 1 if requested == "stacked" and n == 1 else _WIDTH
    if mode == "stacked" and parts:
        raise UserError(
            "chains = 'stacked' samples all weights of a model, and this run also parts of them", "use 'vmap', 'serial' or 'auto'"
        )
    if requested == "auto":
        mode, width = _estimate(on_cpu, n, cores, state, busy, memory, problem, config, parts)
    if mode == "threads" and not on_cpu:
        raise UserError("chains = 'threads' needs a CPU", "On a GPU use 'vmap' or 'serial'.")
    numbers = choose_noise(space.device) if noise == "auto" else noise
    by: UpdateName = "operations" if update == "operations" or why_not(space, config, numbers) else "kernel"
    fit = max(1, min(_RESIDENT_BYTES, memory) // state)
    if mode == "threads":
        workers = max(1, min(cores, n, memory // busy))
        return Executor("threads", workers, max(1, cores // workers) if 2 * workers <= cores else 1, 1, max(workers, min(n, fit)), numbers)
    if mode in STACKED:
        return Executor(mode, 1, cores, width, width, numbers, by)
    return Executor("serial", 1, cores, 1, min(n, fit), numbers, by)


def _estimate(
    on_cpu: bool, n: int, cores: int, state: int, busy: int, memory: int, problem: SamplingTarget, config: SamplerConfig, parts: bool
) -> tuple[Mode, int]:
    """The mode, and how many chains a stack has."""
    if on_cpu:
        side_by_side = n >= 2 and cores >= 2 and state <= _LARGE_STATE_BYTES and 2 * busy <= memory
        return "threads" if side_by_side else "serial", 1
    tokens = config.batch_size * problem.positions
    compute = 6 * max(problem.space.numel, getattr(problem, "computed", 0)) * tokens / _SMALL_MODEL_FLOPS
    if _ARRAYS * busy > memory or compute > _WORTH_TRYING_SECONDS or getattr(problem, "custom_loss", False):
        return "serial", 1
    width = _WIDTH if n >= 2 and _ARRAYS * _WIDTH * busy <= memory else 1
    launches = launches_of(problem, config, width)
    seconds: dict[tuple[Mode, int], float] = {("serial", 1): max(compute, launches.serial * _LAUNCH_SECONDS)}  # of one step of one chain
    if launches.vmapped is not None and width > 1:
        seconds["vmap", width] = max(width * compute, launches.vmapped * _LAUNCH_SECONDS) / width
    if launches.stacked is not None and not parts:
        seconds["stacked", width] = max(width * compute, launches.stacked * _LAUNCH_SECONDS) / width
    return min(seconds, key=seconds.__getitem__)
