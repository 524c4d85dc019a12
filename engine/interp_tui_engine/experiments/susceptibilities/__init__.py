"""Susceptibilities of a model's parts to kinds of data (arXiv 2504.18274): the whole model and each part are sampled, one after another."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result, Sharding
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...models.restrictions.patterns import parse
from ...results.susceptibilities import LIVE, SusceptibilitiesHeadline, SusceptibilitiesResult
from ...runtime.context import Context
from .. import _sampling
from .._sampling import restriction_check, sharding
from .params import Params

EXAMPLE: dict[str, Any] = {
    "name": "heads",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {
        "prose": {"source": "builtin:prose", "context": 32, "rows": 64},
        "code": {"source": "builtin:code", "context": 32, "rows": 16},
        "facts": {"source": "builtin:facts", "context": 32, "rows": 16},
    },
    "params": {
        "restrictions": ["l0h3", "l1h4", "l2h5", "l0 mlp", "l3 mlp"],
        "lr": 4e-5,
        "n_beta": 30.0,
        "localization": 30000.0,
        "num_chains": 4,
        "num_draws": 30,
        "num_burnin_steps": 10,
        "num_steps_bw_draws": 2,
        "batch_size": 8,
        "num_init_loss_batches": 8,
        "sampling_data": "prose",
        "include_sampling_data": True,
        "observables": {"prose": 8, "code": 2, "facts": 2},
        "rank_by": "first_order",
    },
}


def check(manifest: Manifest) -> list[Problem]:
    """That the sampling data is observed, something else too, and that no part is named twice."""
    problems = _sampling.check(manifest)
    params: Params = manifest.params
    observed, sampling = list(params.observables), params.sampling_data
    if sampling in manifest.data and sampling not in observed:
        message = f"must observe the sampling data too: add {sampling} = 1; a part's response is measured against it"
        problems.append(Problem("params.observables", message, value=dict(params.observables)))
    if not params.include_sampling_data and not set(observed) - {sampling}:
        message = f"holds nothing besides {sampling!r}; add other data, or set include_sampling_data = true"
        problems.append(Problem("params.observables", message, value=dict(params.observables)))
    seen: set[frozenset[str]] = set()
    for index, restriction in enumerate(params.restrictions):
        path, name = f"params.restrictions.{index}", str(restriction)
        if restriction == "full":
            problems.append(Problem(path, "'full' is sampled in any case, as what the parts are compared with; leave it out", value=name))
        if restriction == []:
            problems.append(Problem(path, "an empty list selects nothing", value=name))
        elif restriction not in ("full", "heads", "layers"):
            problems += restriction_check.problems(manifest, restriction, path)
        part = frozenset(str(parse(text)) for text in ([restriction] if isinstance(restriction, str) else restriction))
        if part in seen:
            problems.append(Problem(path, f"{name} is there already", value=name))
        seen.add(part)
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """That of sampling the whole, then each of the parts."""
    params: Params = manifest.params
    parts: list[str | list[str]] = ["full"]
    for restriction in params.restrictions:
        spelt_out = restriction_check.parts_of(manifest, restriction) if restriction in ("heads", "layers") else [restriction]
        if spelt_out is None:
            memory = _sampling.estimate(manifest).memory_bytes
            return Estimate(None, memory, None, ("how many parts there are is not known before the model is loaded",))
        parts += spelt_out
    return _sampling.estimate_of(manifest, parts)


def run(context: Context) -> Generator[Event, None, Result]:
    """Sample the whole and the parts, then compute how each part responds."""
    from .._sampling import per_restriction
    from . import result as susceptibilities_result
    from .responses import Responses

    responses = Responses(context)
    sampled = yield from per_restriction.run(context, context.manifest.params.restrictions, responses.take)
    return (yield from susceptibilities_result.result(context, sampled, responses))


def work(context: Context) -> Generator[Event, None, dict[str, Any]]:
    """Sample one worker's parts; each is compared with the whole model as soon as that is sampled, by whichever worker."""
    from .._sampling import per_restriction
    from .responses import Responses

    responses = Responses(context)
    sampled = yield from per_restriction.run(context, context.manifest.params.restrictions, responses.take)
    return {"seconds": sampled.seconds}


KIND = Kind(
    name="susceptibilities",
    title="Susceptibilities",
    question="Which part of the model responds to which data?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=SusceptibilitiesResult,
    headline=SusceptibilitiesHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    sharding=Sharding(sharding.parts_to, work, sharding.as_it_is),
)
