"""Activations of a data set at chosen sites, batch by batch into a Zarr store that may be larger than memory."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from ...catalog import Estimate, Kind, Result
from ...data.row_count import row_count
from ...errors import Problem, UserError
from ...events import Event
from ...manifest import Manifest
from ...results.activations import LIVE, ActivationsHeadline, ActivationsResult
from ...runtime import cost, inputs
from ...runtime.context import Context
from ...sites.site import parse
from ...specs import Table

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 64}},
    "params": {"sites": ["L2.resid_post", "L1.mlp_out"]},
}


class Params(Table):
    """Which sites of which text, and how they are kept."""

    sites: list[str] = Field(["resid_post"], min_length=1, description="such as L2.resid_post, L1.z, or mlp_out for every layer")
    data: str = Field("train", description="which [data.NAME] to read")
    batch_size: int = Field(16, ge=1, description="rows in one forward pass, and in one chunk of the store")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="precision of the store; bfloat16 is written as float32 whose last bytes are 0 and compress away"
    )


def check(manifest: Manifest) -> list[Problem]:
    """Sites that are none, data that is not there."""
    params: Params = manifest.params
    problems = []
    for index, text in enumerate(params.sites):
        try:
            parse(text)
        except UserError as error:
            problems.append(Problem(f"params.sites.{index}", f"{error.what}; {error.hint}", value=text))
    if params.data not in manifest.data:
        message = f"{params.data!r} is none of the manifest's data: {', '.join(manifest.data)}"
        problems.append(Problem("params.data", message, value=params.data))
    return problems or inputs.data_problems(manifest.data, [params.data])


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of the rows; the store's size is known once the model is."""
    size, spec = cost.parameters_of(manifest), manifest.data.get(manifest.params.data)
    rows = None if spec is None else row_count(spec)
    if size is None or spec is None or rows is None:
        return Estimate(None, None, None, ("known once model and data are read",))
    tokens = rows * (spec.context + 1)
    return Estimate(cost.seconds(2 * size.parameters * tokens), cost.BASE_BYTES + 6 * size.parameters, None, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read batch by batch; a batch that is on disk is not read again after a kill."""
    from .compute import run as compute

    return (yield from compute(context))


KIND = Kind(
    name="activations",
    title="Activations",
    question="What stands at these sites while the model reads this text?",
    group="One forward pass",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=ActivationsResult,
    headline=ActivationsHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
