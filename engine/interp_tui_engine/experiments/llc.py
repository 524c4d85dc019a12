"""The local learning coefficient of a model at its weights (Lau et al. 2023, arXiv 2308.12108): nβ·(E[L] − L(w₀)) under SGLD."""

from __future__ import annotations

from collections.abc import Generator

from ..catalog import Group, Result
from ..events import Event
from ..runtime.context import Context
from . import _sampling
from ._sampling import sharding

TITLE = "Local learning coefficient"
QUESTION = "How degenerate is the loss around these weights?"
GROUP: Group = "Learning theory"
NEEDS = frozenset({"model", "data"})
SHARDING = sharding.BY_CHAINS
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
