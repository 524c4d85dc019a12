"""What a sampling run says while it runs: snapshots of its chains as events. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import psutil
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ...estimators.diagnostics import LiveDiagnostics, healthy_block
from ...events import ChainFailed, Event, Metrics, Progress
from ...payload import LEFT_OUT, Row
from ...results.sampling import Chains, EstimateSoFar, StepParts
from ...runtime import imports
from ...runtime.context import Ticker
from ...samplers.chains.run import ChainsSnapshot
from ...samplers.settings import SamplerConfig
from .running_estimate import shown

ESTIMATE_EVERY = 1.0
AFTERWARDS = ("xarray", "interp_tui_engine.experiments._sampling.report")
"""What is imported once there is a draw, beside the sampling: it reads what was sampled."""
POINTS_PER_REPORT = 32
"""Most loss points a chain adds to one event; faster chains are thinned to bucket means."""


class Reporter:
    """Turns snapshots of the chains into events."""

    def __init__(self, config: SamplerConfig, device: torch.device, emit: Callable[[Event], None]) -> None:
        self._config, self._device, self._emit = config, device, emit
        self._traced: dict[int, int] = {}
        self._failed: set[int] = set()
        self._drawn = False
        self._estimate = Ticker(ESTIMATE_EVERY)
        self._diagnostics: LiveDiagnostics | None = None
        self._first_steps: int | None = None

    def report(self, snapshot: ChainsSnapshot) -> None:
        chains = snapshot.chains
        for chain in chains:
            if chain.failed_reason is not None and chain.chain not in self._failed:
                self._failed.add(chain.chain)
                self._emit(ChainFailed(chain.chain, chain.failed_step or 0, chain.failed_reason))
        if not self._drawn and any(chain.draws for chain in chains):
            self._drawn = True
            imports.ahead(*AFTERWARDS)
        done, total = snapshot.steps_done, snapshot.steps_per_chain * len(chains)
        if self._first_steps is None:
            self._first_steps = done
        rate = (done - self._first_steps) / snapshot.seconds if snapshot.seconds > 0 else 0.0
        self._emit(Progress(done, total, "steps", (total - done) / rate if rate > 0 else None))
        n_beta, burnin = self._config.n_beta, self._config.num_burnin_steps
        newest = Chains(
            chains=tuple(c.chain for c in chains),
            step=tuple(c.step for c in chains),
            steps_total=snapshot.steps_per_chain,
            draws=tuple(c.draws for c in chains),
            draws_total=self._config.num_draws,
            burnin=burnin,
            loss=tuple(c.loss for c in chains),
            llc=tuple(None if rise is None else n_beta * rise for rise in snapshot.rises),
            grad=tuple(c.gradient_norm for c in chains),
            distance=tuple(c.distance for c in chains),
            parts=tuple(step_parts(c.metrics) for c in chains) if self._config.save_metrics else LEFT_OUT,
            trace=tuple(self._new_points(snapshot, row) for row in range(len(chains))),
        )
        self._emit(Metrics("chains", max(c.step for c in chains), newest.as_json()))
        if self._estimate.due() or done == total:
            estimates = self._estimates(snapshot)
            self._emit(Metrics("estimate", max(c.step for c in chains), estimates.as_json()))
            self._emit(Metrics("headline", max(c.step for c in chains), shown(estimates).as_json()))

    def _new_points(self, snapshot: ChainsSnapshot, row: int) -> tuple[Row, ...]:
        """Draw and loss of a chain's draws since the last report, thinned to means of equal buckets.

        The loss is L(w0) plus the rise above it on the draw's own rows: what batches differ by is no movement of the chain.
        """
        chain = snapshot.chains[row]
        start, stop = self._traced.get(chain.chain, 0), chain.draws
        self._traced[chain.chain] = stop
        if not chain.healthy or stop <= start:
            return ()
        edges = np.unique(np.linspace(start, stop, min(POINTS_PER_REPORT, stop - start) + 1).astype(int))
        points = []
        for left, right in pairwise(edges):
            rise = snapshot.rise[row, left:right]
            if np.isfinite(rise).any():
                points.append((int(right) - 1, round(snapshot.init_loss + float(np.nanmean(rise)), 6)))
        return tuple(points)

    def _estimates(self, snapshot: ChainsSnapshot) -> EstimateSoFar:
        if self._diagnostics is None:
            self._diagnostics = LiveDiagnostics(0.0, self._config.n_beta)
        summary = self._diagnostics.update(snapshot.rise)
        memory = psutil.Process().memory_info().rss
        device = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
        of_some = len(snapshot.chains) < self._config.num_chains
        return EstimateSoFar(
            llc_mean=summary.llc,
            llc_std_error=summary.llc_std_error,
            rhat=summary.rhat,
            ess=summary.ess,
            init_loss=snapshot.init_loss,
            tokens_per_second=snapshot.tokens_per_second,
            memory_bytes=memory,
            device_memory_bytes=device,
            halves=halves(snapshot.init_loss + snapshot.rise) if of_some else LEFT_OUT,
        )


def step_parts(metrics: Mapping[str, float]) -> StepParts | None:
    """Norms of what moved a chain at its newest step, in units of weight; drift is gradient and pull together. None before the first."""
    if not metrics:
        return None
    pull = math.hypot(metrics["localization"], metrics["weight_decay"])
    drift = math.sqrt(max(0.0, metrics["scaled_grad"] ** 2 + pull**2 + 2 * metrics["dot_grad_prior"]))
    return StepParts(gradient=metrics["scaled_grad"], pull=pull, noise=metrics["noise"], drift=drift, distance=metrics["distance"])


def halves(trace: Float[NDArray[np.float64], "chain draw"]) -> tuple[Row, ...]:
    """Draws, mean and variance of the first half of each healthy chain's trace and of its second: what R-hat over several workers needs."""
    block = healthy_block(trace)
    size = block.shape[1] // 2 if block.size else 0
    if size < 2:
        return ()
    return tuple((size, float(half.mean()), float(half.var(ddof=1))) for row in block for half in (row[:size], row[-size:]))
