"""Steers along a direction while the model writes: what it wrote before and what it writes now, and how its next token changes."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem, UserError
from ...events import Event
from ...features import ids
from ...manifest import Manifest
from ...results.steer_text import LIVE, SteerTextHeadline, SteerTextResult
from ...runtime import cost, input_files, inputs
from ...runtime.context import Context
from ...sites.site import parse
from .._features import PROBES, direction_file
from .params import Params

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {
        "toward": [f"The capital of {place} is" for place in ("Japan", "Egypt", "China", "India", "Kenya", "Cuba")],
        "away": [f"The capital of {place} is" for place in ("France", "Italy", "Spain", "Greece", "Norway", "Poland")],
        "site": "L2.resid_post",
        "prompts": ["The capital of France is", "The capital of Italy is", "People in Germany speak"],
        "answer": [" Paris", " Rome", " German"],
        "strengths": [0.5, 1.0, 2.0],
    },
}


def check(manifest: Manifest) -> list[Problem]:
    """No direction, or two; a site that is none; strengths where the verb has none."""
    params: Params = manifest.params
    problems = []
    texts = bool(params.toward) or bool(params.away)
    if params.direction and texts:
        problems.append(Problem("params.direction", "is given beside toward and away; give one or the other", value=params.direction))
    if not params.direction:
        for name in ("toward", "away"):
            if not getattr(params, name):
                problems.append(Problem(f"params.{name}", "is missing; or give direction, a probe run"))
        if not params.site:
            problems.append(Problem("params.site", "is missing; a direction of texts is read at one site, such as L2.resid_post"))
    if params.site:
        try:
            site = parse(params.site)
            if site.position is not None:
                problems.append(Problem("params.site", "names a position, but is steered at every one; leave the @ out", value=params.site))
            if site.name == "attn_pattern" or (site.layer is None and site.name != "embed"):
                problems.append(Problem("params.site", "names no layer, or what is no direction; write L2.resid_post", value=params.site))
        except UserError as error:
            problems.append(Problem("params.site", f"{error.what}; {error.hint}", value=params.site))
    if params.verb == "ablate" and params.strengths != [1.0]:
        problems.append(Problem("params.strengths", "ablate has no strength; add and clamp have", value=params.strengths))
    if len(set(params.strengths)) < len(params.strengths):
        problems.append(Problem("params.strengths", "names a strength twice", value=params.strengths))
    for name in ("toward", "away", "prompts"):
        for index, text in enumerate(getattr(params, name)):
            if not text.strip():
                problems.append(Problem(f"params.{name}.{index}", "is empty: there is no token to read", value=text))
    if texts and sorted(params.toward) == sorted(params.away):
        problems.append(Problem("params.away", "holds the texts of toward: there is no way from one to the other", value=params.away))
    return problems or ([] if params.direction is None else inputs.read("params.direction", params.direction, _direction)[1])


def _direction(path: Path) -> None:
    """Whether a file or run holds a probe's direction or a vector by id."""
    probes = path / PROBES if path.is_dir() else path
    file = probes if probes.is_file() else direction_file(str(path))
    if not any(name.endswith(".weight") or ids.layer_of(name) is not None for name in input_files.tensors(file)):
        raise UserError(f"{file} holds no direction", "give a probe or contrast run, or a .safetensors of directions")


def estimate(manifest: Manifest) -> Estimate:
    """A pass of the model for every token written."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    params: Params = manifest.params
    written = len(params.prompts) * (1 + len(params.strengths)) * (params.tokens + 16)
    return Estimate(cost.seconds(2 * size.parameters * written) + 2, cost.BASE_BYTES + 6 * size.parameters, 1 << 20, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Write prompt by prompt; one that is written is not written again after a kill."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="steer_text",
    title="Steer a text",
    question="What does the model write when a direction is added, removed or held?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=SteerTextResult,
    headline=SteerTextHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
