"""Bayesian influence functions (arXiv 2509.26544): which losses move together over the posterior around the model's weights."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.bif import LIVE, BIFHeadline, BIFResult
from ...runtime.context import Context
from .. import _sampling
from .._sampling import sharding
from .params import Params

EXAMPLE: dict[str, Any] = {
    "name": "prose-code-facts",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {
        "prose": {"source": "builtin:prose", "context": 32, "rows": 256},
        "code": {"source": "builtin:code", "context": 32, "rows": 16},
        "facts": {"source": "builtin:facts", "context": 32, "rows": 16},
    },
    "params": {
        "lr": 1e-3,
        "n_beta": 30.0,
        "localization": 1000.0,
        "num_chains": 4,
        "num_draws": 140,
        "num_burnin_steps": 20,
        "num_steps_bw_draws": 2,
        "batch_size": 8,
        "num_init_loss_batches": 8,
        "sampling_data": "prose",
        "observables": {"prose": 2, "code": 2, "facts": 2},
        "method": "token",
    },
}


def check(manifest: Manifest) -> list[Problem]:
    """That there is something to compare, over draws enough."""
    problems = sharding.check(manifest)
    params: Params = manifest.params
    if not params.observables:
        problems.append(Problem("params.observables", "names nothing to compare; such as { train = 2 }", value={}))
    draws = params.num_draws * (params.num_chains if params.reduce == "stack" else 1)
    if draws < 2:
        problems.append(Problem("params.num_draws", f"{draws} draw has no correlation; at least 2", value=params.num_draws))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """That of the sampling, and the products: a multiply-add for each pair of traces and draw."""
    params: Params = manifest.params
    sampling = _sampling.estimate(manifest)
    rows = sum(params.observables.values()) * params.batch_size
    per_token = params.method == "token" and not params.average
    series = manifest.data[params.sampling_data].context if per_token else 1
    disk = None if sampling.disk_bytes is None else sampling.disk_bytes + 4 * (rows * series) ** 2
    return Estimate(sampling.seconds, sampling.memory_bytes, disk, sampling.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Sample, then correlate."""
    from .._sampling import run as sampling_run
    from . import result as bif_result

    done = yield from sampling_run.run(context)
    return (yield from bif_result.result(done))


KIND = Kind(
    name="bif",
    title="Influence",
    question="Which text moves with which?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=BIFResult,
    headline=BIFHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    sharding=sharding.BY_CHAINS,
    follow=sharding.follow,
)
