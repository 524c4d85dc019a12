"""The local learning coefficient of a model at its weights (Lau et al. 2023, arXiv 2308.12108): nβ·(E[L] − L(w₀)) under SGLD."""

from __future__ import annotations

from collections.abc import Generator

from ..catalog import Kind, Result
from ..events import Event
from ..runtime.context import Context
from . import _sampling
from ._sampling import sharding

EXAMPLE = _sampling.EXAMPLE
Params = _sampling.SamplingParams
check = _sampling.check
estimate = _sampling.estimate


def run(context: Context) -> Generator[Event, None, Result]:
    """Sample, then estimate the LLC from the stored losses."""
    from ._sampling import report as sampling_report
    from ._sampling import run as sampling_run

    done = yield from sampling_run.run(context)
    return sampling_report.result(done, with_llc=True)


KIND = Kind(
    name="llc",
    title="Local learning coefficient",
    question="How degenerate is the loss around these weights?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    run=run,
    check=check,
    estimate=estimate,
    sharding=sharding.BY_CHAINS,
)
