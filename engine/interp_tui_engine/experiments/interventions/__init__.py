"""Changes features of a running model and sees what it does to the answers: the causal evidence that `inspect` weighs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.interventions import LIVE, InterventionsHeadline, InterventionsResult
from ...runtime import cost
from ...runtime.context import Context
from .. import _features
from .params import PLAIN_CONTROLS, draws_of
from .params import Params as Params

EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": _features.EXAMPLE["model"],
    "params": {**_features.EXAMPLE["params"], "targets": ["L2:D95", "L2:D30", "L2:D90"]},
}

TOKENS = 16
"""Of a prompt, for the estimate."""


def check(manifest: Manifest) -> list[Problem]:
    """No features, or features named twice over; strengths where the verb has none."""
    params: Params = manifest.params
    problems = _features.check(manifest)
    if not params.targets and params.report is None:
        problems.append(Problem("params.targets", "is missing; or give report, an inspect run"))
    if params.targets and params.report is not None:
        problems.append(Problem("params.targets", "is given beside report; give one or the other", value=params.targets))
    if params.verb in ("ablate", "patch") and params.strengths != [1.0]:
        problems.append(
            Problem("params.strengths", f"{params.verb} has no strength; amplify, clamp and steer have", value=params.strengths)
        )
    if params.steer_by != "std" and params.verb != "steer":
        problems.append(Problem("params.steer_by", f"is given, but verb = {params.verb!r}", value=params.steer_by))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """From the model's size, the prompts, and how many changes there are."""
    params: Params = manifest.params
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, None, ("the model's size is not known before it is loaded",))
    features = len(params.targets) or params.top
    each = 1 + sum(1 if name == "placebo" else draws_of(params, features) for name in params.controls)
    passes = features * len(params.strengths) * each * 2 * params.most_prompts
    plain = features * len(params.strengths) * (1 + PLAIN_CONTROLS * len(params.controls)) * params.plain_rows * 64
    # one token of each prompt goes through the blocks behind the change, or all of its tokens do
    tokens = TOKENS if params.positions == "all" else 1
    seconds = cost.seconds(2.0 * size.parameters * (passes * tokens + plain))
    return Estimate(seconds, cost.memory(size.parameters, 16 * params.batch_size), 300 * passes, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Change feature after feature; what is done is not done again after a kill."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="interventions",
    title="Intervene on features",
    question="Does changing this feature change the answer, and nothing else?",
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
