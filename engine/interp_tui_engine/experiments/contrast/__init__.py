"""A direction fitted to a criterion and how strongly to steer along it: fitted on some prompts, chosen on others, told on yet others."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...features import prompts as prompts_file
from ...manifest import Manifest
from ...results.contrast import LIVE, ContrastHeadline, ContrastResult
from ...runtime import cost, inputs
from ...runtime.context import Context
from .. import _features
from .params import Params, part_sizes

EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": _features.EXAMPLE["model"],
    "params": {**_features.EXAMPLE["params"], "layer": 2, "shared_answers": True},
}


def check(manifest: Manifest) -> list[Problem]:
    """A relation that is none; shares that leave nothing to report on; strengths named twice."""
    from ...errors import UserError

    params: Params = manifest.params
    problems = []
    try:
        _features.relation_of(params.prompts)
    except UserError as error:
        problems.append(Problem("params.prompts", f"{error.what}; {error.hint}", value=params.prompts))
    if params.fit + params.choose >= 0.95:
        problems.append(
            Problem("params.fit", f"fit + choose = {params.fit + params.choose:g} leave too little to report on", value=params.fit)
        )
    if params.shared_answers and params.metric in ("logit_diff", "sequence"):
        problems.append(
            Problem("params.metric", f"{params.metric!r} cannot score a set of answers that all share; use 'prob' or 'logprob'")
        )
    if len(set(params.strengths)) < len(params.strengths):
        problems.append(Problem("params.strengths", "names a strength twice", value=params.strengths))
    return problems or _features.check_files(params) or _too_few(params)


def _too_few(params: Params) -> list[Problem]:
    """A class of which some part would get fewer than two, copies counted once."""
    if params.prompts.startswith("builtin:"):
        return []
    prompts, _ = inputs.read("params.prompts", params.prompts, prompts_file.read)
    problems = []
    for positive, what in ((True, "positive"), (False, "negative")) if prompts is not None else ():
        count = sum((prompt.score > 0.5) is positive for prompt in prompts_file.without_repeats(prompts)[0])
        if min(part_sizes(params, count)) < 2:
            message = f"{count} different {what} prompts are too few for three parts; each part needs two of each class"
            problems.append(Problem("params.prompts", message, value=params.prompts))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """From the model's size: the strengths on one part of the prompts, the chosen one and its controls on another."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, None, ("the model's size is not known before it is loaded",))
    draws, rows = manifest.params.draws, manifest.params.plain_rows * 64 * 7
    # each shuffle tries all strengths on some thirty prompts; one token of each goes through the blocks behind the change
    passes = 40 * (draws + 1) * (3 + len(manifest.params.strengths)) + 40 * draws + rows
    return Estimate(
        cost.seconds(2.0 * size.parameters * (passes + 1600)), cost.memory(size.parameters, 1024), 200 * 40 * (1 + 2 * draws), size.notes
    )


def run(context: Context) -> Generator[Event, None, Result]:
    """Fit, choose, report."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="contrast",
    title="Contrast direction",
    question="Does steering along the direction of this criterion bring it about?",
    group="Features",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=ContrastResult,
    headline=ContrastHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
