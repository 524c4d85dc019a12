"""Steers along features by several strengths: how much each does to the answer, and from which strength on it spoils everything else."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from ..catalog import Kind, Result
from ..events import Event
from ..results.interventions import LIVE, InterventionsHeadline, InterventionsResult
from ..runtime.context import Context
from . import _features, interventions

EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": _features.EXAMPLE["model"],
    "params": {**_features.EXAMPLE["params"], "targets": ["L2:D95"]},
}
check = interventions.check
estimate = interventions.estimate


class Params(interventions.Params):
    """As interventions, with several strengths: the curve is what this kind is about."""

    verb: Literal["steer", "amplify", "clamp"] = Field("steer", description="what the strengths are of")
    strengths: list[float] = Field(
        [-4.0, -2.0, -1.0, 1.0, 2.0, 4.0],
        min_length=2,
        description="steer: in the feature's std over the prompts, less than 0 is against it",
    )


def run(context: Context) -> Generator[Event, None, Result]:
    """Change by strength after strength; what is done is not done again after a kill."""
    from .interventions import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="steer",
    title="Steer along features",
    question="How strongly can this feature be pushed before other answers suffer?",
    group="Features",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=InterventionsResult,
    headline=InterventionsHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
