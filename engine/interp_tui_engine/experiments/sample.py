"""SGLD sampling of a model's tempered posterior with per-token losses of the data it is asked to observe."""

from __future__ import annotations

from collections.abc import Generator

from ..catalog import Kind, Result
from ..events import Event
from ..results.sampling import SAMPLING, SampleResult, SamplingHeadline
from ..runtime.context import Context
from . import _sampling
from ._sampling import sharding

EXAMPLE = _sampling.EXAMPLE
Params = _sampling.SamplingParams
check = sharding.check
follow = sharding.follow
estimate = _sampling.estimate


def run(context: Context) -> Generator[Event, None, Result]:
    """Sample, and describe the chains: loss, mixing, speed."""
    from ._sampling import run as sampling_run

    done = yield from sampling_run.run(context)
    from ._sampling import report as sampling_report  # what reads the samples is not needed before there are any

    return sampling_report.result(done, with_llc=False)


KIND = Kind(
    name="sample",
    title="Posterior samples",
    question="What do models near these weights look like, and how does their loss move?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=SampleResult,
    headline=SamplingHeadline,
    live=SAMPLING,
    run=run,
    check=check,
    estimate=estimate,
    sharding=sharding.BY_CHAINS,
    follow=follow,
)
