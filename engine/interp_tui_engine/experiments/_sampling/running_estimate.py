"""The estimate that a sampling run gives while it runs, merged from those of several workers. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, variance
from typing import Any

from ...events import Event, Metrics
from ...manifest import Manifest
from ...payload import LEFT_OUT
from ...results.sampling import EstimateSoFar, SamplingHeadline


class RunningEstimate:
    """Makes one running estimate of those of several workers, each of its own chains.

    A worker tells the count, mean and variance of each half of each of its chains (`halves`, in nats). Over all of them, split R-hat is
    sqrt((n - 1)/n + V/W), with V the variance of the halves' means, W the mean of their variances and n draws in the shortest (Gelman
    et al. 2013, section 11.4); effective draws add up; the standard error is the larger of two, as `estimators.diagnostics` explains.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._n_beta: float = manifest.params.n_beta
        self._newest: dict[int, Mapping[str, Any]] = {}

    def __call__(self, shard: int, event: Event) -> Event:
        if not isinstance(event, Metrics) or event.series not in ("estimate", "headline"):
            return event
        if event.series == "estimate":
            self._newest[shard] = event.values
        merged = self._merged()
        return replace(event, values=(merged if event.series == "estimate" else shown(merged)).as_json())

    def _merged(self) -> EstimateSoFar:
        estimates = list(self._newest.values())

        def known(name: str) -> list[float]:
            return [value for values in estimates if isinstance(value := values.get(name), (int, float)) and math.isfinite(value)]

        def known_sizes(name: str) -> list[int]:
            return [value for values in estimates if isinstance(value := values.get(name), int)]

        init_loss = fmean(known("init_loss")) if known("init_loss") else None
        halves = [half for values in estimates for half in values.get("halves") or []]
        ess = sum(known("ess")) or None
        mean, error, rhat = _of_halves(halves, ess)
        return EstimateSoFar(
            llc_mean=None if mean is None or init_loss is None else self._n_beta * (mean - init_loss),
            llc_std_error=None if error is None else self._n_beta * error,
            rhat=rhat,
            ess=ess,
            init_loss=init_loss,
            tokens_per_second=sum(known("tokens_per_second")),
            memory_bytes=sum(known_sizes("memory_bytes")) or None,
            device_memory_bytes=max(known_sizes("device_memory_bytes"), default=None),
        )


def _of_halves(halves: Sequence[Sequence[float]], ess: float | None) -> tuple[float | None, float | None, float | None]:
    """Mean, its standard error and split R-hat of chains given as halves [draws, mean, variance], two of each chain after another."""
    if not halves:
        return None, None, None
    draws = sum(count for count, _, _ in halves)
    mean = sum(count * middle for count, middle, _ in halves) / draws
    within, shortest = fmean(spread for _, _, spread in halves), min(count for count, _, _ in halves)
    between = variance(middle for _, middle, _ in halves)
    rhat = math.sqrt((shortest - 1) / shortest + between / within) if within > 0 and shortest > 1 and len(halves) > 2 else None
    errors = []
    chains = [(a[0] * a[1] + b[0] * b[1]) / (a[0] + b[0]) for a, b in zip(halves[::2], halves[1::2], strict=True)]
    if len(chains) > 1:
        errors.append(math.sqrt(variance(chains) / len(chains)))
    if ess:
        total = sum((count - 1) * spread + count * (middle - mean) ** 2 for count, middle, spread in halves) / max(1, draws - 1)
        errors.append(math.sqrt(total / ess))
    return mean, max(errors, default=None), rhat


def shown(estimate: EstimateSoFar) -> SamplingHeadline:
    """The few numbers of a running estimate that a listing shows."""

    def if_known(value: float | None) -> float:
        return LEFT_OUT if value is None else value

    return SamplingHeadline(
        llc_mean=if_known(estimate.llc_mean), llc_std_error=if_known(estimate.llc_std_error), rhat=if_known(estimate.rhat)
    )
