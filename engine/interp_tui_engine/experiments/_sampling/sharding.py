"""How sampling kinds are shared by several workers: by chains or by parts. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from itertools import pairwise
from typing import Any

from ...catalog import Sharding
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...runtime.context import Context
from ...shards import Assignment
from . import check as sampling_check
from .running_estimate import RunningEstimate

COUPLED = frozenset({"sgnht"})
"""Sampling methods with a number that all weights share (`couple` of their kernels)."""
STACK = 4
"""Chains that a GPU may step as one (`samplers.chains.executor`): part of a stack costs as much as all of it, so none is split."""


def chains_to(manifest: Manifest, workers: int) -> list[Assignment]:
    """Blocks of neighbouring chains, as equal as can be; none for a worker for whom no chain is left."""
    chains = manifest.params.num_chains
    devices = manifest.compute.devices
    stacks = -(-chains // STACK)
    stacked = all(device.startswith("cuda") for device in devices) and manifest.compute.chains in ("auto", "stacked", "vmap")
    unit = STACK if stacked and stacks >= workers else 1
    units = -(-chains // unit)
    workers = min(workers, units)
    edges = [min(chains, unit * (units * worker // workers)) for worker in range(workers + 1)]
    return [(_span("chain", left, right - 1), {"chains": list(range(left, right))}) for left, right in pairwise(edges)]


def _span(noun: str, first: int, last: int) -> str:
    return f"{noun} {first}" if first == last else f"{noun}s {first}-{last}"


def parts_to(manifest: Manifest, workers: int) -> list[Assignment]:
    """Every n-th part from the n-th on, the whole model being the first: 'heads' is not told before the model is loaded."""
    restrictions = manifest.params.restrictions
    if not {"heads", "layers"} & {restriction for restriction in restrictions if isinstance(restriction, str)}:
        workers = min(workers, 1 + len(restrictions))
    return [(f"part {k + 1} of every {workers}", {"from": k, "every": workers}) for k in range(workers)]


def work_on_chains(context: Context) -> Generator[Event, None, Mapping[str, Any]]:
    """One worker's chains."""
    from . import run as sampling_run

    return (yield from sampling_run.work(context))


def as_it_is(manifest: Manifest) -> Callable[[int, Event], Event]:
    """Each worker speaks for itself."""
    return lambda shard, event: event


def check(manifest: Manifest) -> list[Problem]:
    """As of every sampling, and what cannot be done where several devices hold the model."""
    return [*sampling_check(manifest), *rank_problems(manifest)]


def follow(context: Context) -> None:
    """Hold a part of the model of a worker, and take every step with it."""
    from . import follow as sampling_follow

    sampling_follow.follow(context, control=False)


def rank_problems(manifest: Manifest) -> list[Problem]:
    """What of a sampling does not go with compute.gpus_per_worker."""
    compute, together = manifest.compute, manifest.compute.gpus_per_worker
    if together < 2:
        return []
    problems = []
    if manifest.params.sampling_method in COUPLED:
        message = f"{manifest.params.sampling_method!r} couples all weights at every step, which is not done over several devices"
        problems.append(Problem("params.sampling_method", message, value=manifest.params.sampling_method))
    if compute.precision != "float32":
        problems.append(Problem("compute.precision", "several devices compute in the weights' own precision", value=compute.precision))
    if compute.chains not in ("auto", "serial"):
        problems.append(Problem("compute.chains", "chains of a model on several devices run one after another", value=compute.chains))
    if compute.noise == "torch":
        message = "only 'philox' gives the same numbers however many devices hold the model"
        problems.append(Problem("compute.noise", message, value=compute.noise))
    return problems


BY_CHAINS = Sharding(chains_to, work_on_chains, RunningEstimate)
