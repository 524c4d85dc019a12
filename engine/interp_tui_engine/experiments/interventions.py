"""Changes features of a running model and sees what it does to the answers: the causal evidence that `inspect` weighs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem
from ..events import Event
from ..manifest import Manifest
from ..specs import FILE
from . import _cost, _features
from .context import Context

TITLE = "Intervene on features"
QUESTION = "Does changing this feature change the answer, and nothing else?"
GROUP: Group = "Features"
NEEDS: frozenset[str] = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": _features.EXAMPLE["model"],
    "params": {**_features.EXAMPLE["params"], "targets": ["L2:D95", "L2:D30", "L2:D90"]},
}
RESULT = (
    *("model", "criterion", "verb", "metric", "rows", "positives", "negatives", "baseline", "effects", "chosen", "chosen_strength"),
    *("effect", "effect_low", "effect_high", "side_effect", "path", "loss_change", "loss_low", "loss_high"),
)
"""What stands at the top of its result.json."""


class Params(_features.FeatureParams):
    """Which features, how they are changed, what is measured, and what it is held against."""

    report: str | None = Field(
        None, json_schema_extra=FILE, description="an inspect run (or its report.json) whose first features are taken"
    )
    targets: list[str] = Field(default_factory=list, description="ids of features, such as 'L2:D95' or 'SAE:L2:F417'")
    top: int = Field(5, ge=1, description="how many of the report's features")
    verb: Literal["ablate", "amplify", "clamp", "patch", "steer"] = Field(
        "ablate", description="how a feature is changed, at the last token"
    )
    strengths: list[float] = Field([1.0], min_length=1, description="amplify: times its value; clamp: times its maximum; steer: in its std")
    to: Literal["auto", "zero", "mean"] = Field("auto", description="what ablate leaves: 0, or the mean on negatives; auto: 0 for latents")
    model_name: str | None = Field(None, description="what the rows call the model; its source when left out")
    metric: Literal["logit_diff", "log_odds", "prob", "logprob", "sequence", "kl"] = Field(
        "logit_diff",
        description="of the answer at the last token; log_odds: against all else, logit_diff: against the wrong ones; sequence: the "
        "log-probability of the whole answer; kl: how far the next token's distribution moves, never below 0: hold it against its controls",
    )
    plain_text: str = Field("builtin:prose", description="text on which the loss must not change: builtin:prose|code, or a file")
    plain_rows: int = Field(8, ge=0, description="rows of 64 tokens of it that each change is made on, at every token; 0: none")
    answers: list[str] = Field(default_factory=list, description="answers of prompts that have none of their own, as one set of tokens")
    controls: list[Literal["random", "matched_frequency", "matched_norm", "placebo"]] = Field(
        ["random", "matched_frequency", "matched_norm"], description="changes of the same kind where no effect is expected"
    )
    draws: int = Field(3, ge=1, le=100, description="random and matched_norm controls for each feature")
    most_prompts: int = Field(64, ge=2, description="positives, and negatives, that are run at most")
    alpha: float = Field(0.05, gt=0.0, lt=1.0, description="false discovery rate over features and strengths")


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
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """From the model's size, the prompts, and how many changes there are."""
    params: Params = manifest.params
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, None, ("the model's size is not known before it is loaded",))
    features = len(params.targets) or params.top
    each = 1 + sum(params.draws if name in ("random", "matched_norm") else 1 for name in params.controls)
    passes = features * len(params.strengths) * each * 2 * params.most_prompts
    plain = features * len(params.strengths) * each * params.plain_rows * 64
    seconds = _cost.seconds(2.0 * size.parameters * (16 * passes + plain))
    return Estimate(seconds, _cost.memory(size.parameters, 16 * params.batch_size), 300 * passes, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Change feature after feature; what is done is not done again after a kill."""
    from . import _interventions_run

    return (yield from _interventions_run.run(context))
