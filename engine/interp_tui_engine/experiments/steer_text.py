"""Steers along a direction while the model writes: what it wrote before and what it writes now, and how its next token changes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem, UserError
from ..events import Event
from ..manifest import Manifest
from ..sites.site import parse
from ..specs import FILE, Table
from . import _cost
from .context import Context

TITLE = "Steer a text"
QUESTION = "What does the model write when a direction is added, removed or held?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
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


class Params(Table):
    """Which direction, what is done along it, and on which prompts."""

    direction: str | None = Field(
        None, json_schema_extra=FILE, description="a probe or contrast run, or a .safetensors of directions; in place of toward and away"
    )
    toward: list[str] = Field(default_factory=list, description="texts whose last token's mean activation is steered toward")
    away: list[str] = Field(default_factory=list, description="and those whose mean it is steered away from")
    site: str | None = Field(None, description="such as L2.resid_post; of a probe run, its best place when left out")
    verb: Literal["add", "ablate", "clamp"] = Field("add", description="along the direction: move, remove, or hold")
    strengths: list[float] = Field(
        [1.0],
        min_length=1,
        description="add: in distances between the two classes' means; clamp: 0 is the first class's mean, 1 the second's",
    )
    prompts: list[str] = Field(min_length=1, description="texts to go on with")
    tokens: int = Field(16, ge=1, le=4096, description="how many tokens are written, the likeliest one each time")
    answer: str | list[str] | None = Field(None, description="for the metric: its log-probability next; a list counts as one answer")
    long_answers: Literal["error", "first"] = Field("error", description="for answers of several tokens: refuse, or look at the first")


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
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """A pass of the model for every token written."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    params: Params = manifest.params
    written = len(params.prompts) * (1 + len(params.strengths)) * (params.tokens + 16)
    return Estimate(_cost.seconds(2 * size.parameters * written) + 2, _cost.BASE_BYTES + 6 * size.parameters, 1 << 20, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Write prompt by prompt; one that is written is not written again after a kill."""
    from . import _steer_text_run

    return (yield from _steer_text_run.run(context))
