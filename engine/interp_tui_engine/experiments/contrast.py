"""A direction fitted to a criterion and how strongly to steer along it: fitted on some prompts, chosen on others, told on yet others."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem
from ..events import Event
from ..manifest import Manifest
from ..specs import FILE, Table
from . import _cost, _features
from .context import Context

TITLE = "Contrast direction"
QUESTION = "Does steering along the direction of this criterion bring it about?"
GROUP: Group = "Features"
NEEDS: frozenset[str] = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": _features.EXAMPLE["model"],
    "params": {**_features.EXAMPLE["params"], "layer": 2, "shared_answers": True},
}
RESULT = (
    *("model", "criterion", "verb", "metric", "rows", "positives", "negatives", "feature", "distance", "curve", "chosen_strength"),
    *("effect", "effect_low", "effect_high", "side_effect", "effects", "path", "direction", "wanted_on", "prompts"),
)
"""What stands at the top of its result.json."""


class Params(Table):
    """Prompts, where the direction is read and added, and the strengths to choose from."""

    criterion: str = Field(min_length=1, description="the criterion in one sentence")
    prompts: str = Field(
        min_length=1, json_schema_extra=FILE, description="a .jsonl of {text, criterion_score, answer}, or builtin:capital and the like"
    )
    layer: int = Field(0, ge=0, description="the residual stream after this layer")
    strengths: list[Annotated[float, Field(gt=0)]] = Field(
        [0.25, 0.5, 1.0, 2.0, 4.0, 8.0], min_length=1, description="in units of the distance between the means of positives and negatives"
    )
    metric: Literal["logit_diff", "log_odds", "prob", "logprob", "sequence"] = Field(
        "logprob", description="score of the answer at the last token; sequence: log-probability of the whole answer"
    )
    answers: list[str] = Field(default_factory=list, description="answers of prompts that have none of their own, as one set of tokens")
    shared_answers: bool = Field(
        False,
        description="does it make other prompts end so? All are scored by the set of all positives' answers, and the effect is that on "
        "negatives, the side effect that on positives; when false the effect is on positives' own answers",
    )
    fit: float = Field(0.4, gt=0.0, lt=1.0, description="share of the prompts that the direction is fitted on")
    choose: float = Field(0.3, gt=0.0, lt=1.0, description="share that the strength is chosen on; the rest are reported on")
    draws: int = Field(5, ge=1, le=100, description="random directions of the same length as controls")
    batch_size: int = Field(64, ge=1, description="prompts in one forward pass")


def check(manifest: Manifest) -> list[Problem]:
    """A relation that is none; shares that leave nothing to report on; strengths named twice."""
    from ..errors import UserError

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
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """From the model's size: the strengths on one part of the prompts, the chosen one and its controls on another."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, None, ("the model's size is not known before it is loaded",))
    passes = 100 * (2 + len(manifest.params.strengths) + manifest.params.draws)
    return Estimate(_cost.seconds(2.0 * size.parameters * 16 * passes), _cost.memory(size.parameters, 1024), 200 * passes, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Fit, choose, report."""
    from . import _contrast_run

    return (yield from _contrast_run.run(context))
