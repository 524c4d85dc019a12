"""The local learning coefficient of a model at its weights (Lau et al. 2023, arXiv 2308.12108): nβ·(E[L] − L(w₀)) under SGLD."""

from __future__ import annotations

from collections.abc import Generator

from pydantic import Field

from ..catalog import Kind, Result
from ..events import Event, Metrics
from ..payload import read
from ..results.sampling import LLC, LLCResult, RunVerdict, SamplingHeadline
from ..runtime.context import Context
from . import _sampling
from ._sampling import sharding

EXAMPLE = _sampling.EXAMPLE


class Params(_sampling.SamplingParams):
    """One sampling, which checks itself unless told not to."""

    acceptance_every: int | None = Field(  # type: ignore[assignment]
        None, ge=0, description="steps between looks at the MALA acceptance, each a gradient more; 0: none; left out: few"
    )


estimate = _sampling.estimate


check = sharding.check


def follow(context: Context) -> None:
    """Hold a part of the model of a worker, and take every step with it."""
    from ._sampling import follow as sampling_follow

    sampling_follow.follow(context, control=True)


def run(context: Context) -> Generator[Event, None, Result]:
    """Sample, estimate the LLC from the stored losses, and judge whether it is one."""
    from ._sampling import run as sampling_run

    done = yield from sampling_run.run(context, control=True)
    from ._sampling import report as sampling_report  # what reads the samples is not needed before there are any

    result = sampling_report.result(done, with_llc=True)
    values = read(LLCResult, result.values)
    yield Metrics("verdict", 0, RunVerdict(text=values.verdict, usable=values.usable, reasons=values.reasons).as_json())
    return result


KIND = Kind(
    name="llc",
    title="Local learning coefficient",
    question="How degenerate is the loss around these weights?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=LLCResult,
    headline=SamplingHeadline,
    live=LLC,
    run=run,
    check=check,
    estimate=estimate,
    sharding=sharding.BY_CHAINS,
    follow=follow,
)
