"""What interventions may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from ...features import answer_sets
from ...features.control_test import FEWEST
from ...features.layer_convention import HIDDEN_STATES, Convention
from ...specs import FILE
from .. import _features

MOST_DRAWS = 400


PLAIN_CONTROLS = 5
"""Draws of each kind of control whose cost on plain text is measured: it is shown beside the feature's, not tested."""


class Params(_features.FeatureParams):
    """Which features, how they are changed, what is measured, and what it is held against."""

    report: str | None = Field(
        None, json_schema_extra=FILE, description="an inspect run (or its report.json) whose first features are taken"
    )
    targets: list[str] = Field(default_factory=list, description="ids of features, such as 'L2:D95' or 'SAE:L2:F417'")
    layer_convention: Literal["auto", "block", "hidden_state_index"] = Field(
        "auto",
        description="what L2 means in the report or targets: block, the output of block 2; hidden_state_index, interp-lab's "
        "hidden_states[2], the output of block 1; auto: what the report says of itself, block for targets",
    )
    top: int = Field(5, ge=1, description="how many of the report's features")
    verb: Literal["ablate", "amplify", "clamp", "patch", "steer"] = Field("ablate", description="how a feature is changed")
    positions: Literal["auto", "last", "all"] = Field(
        "auto",
        description="where: last, each prompt's last token; all, every token; auto: all where features numbered as interp-lab numbers them "
        "are ablated, which it does at every token, else last",
    )
    strengths: list[float] = Field(
        [1.0], min_length=1, description="amplify: times its value; clamp: times its maximum; steer: times what steer_by names"
    )
    steer_by: Literal["std", "direction"] = Field(
        "std", description="what strength 1 adds in steering: one std of the feature's values on the prompts, or its direction once"
    )
    to: Literal["auto", "zero", "mean"] = Field("auto", description="what ablate leaves: 0, or the mean on negatives; auto: 0 for latents")
    model_name: str | None = Field(None, description="what the rows call the model; its source when left out")
    metric: Literal["logit_diff", "log_odds", "prob", "logprob", "sequence", "kl"] = Field(
        "logit_diff",
        description="of the answer at the last token; log_odds: against all else, logit_diff: against the wrong ones; sequence: the "
        "log-probability of the whole answer; kl: how far the next token's distribution moves, never below 0: hold it against its controls",
    )
    plain_text: str = Field("builtin:prose", description="text on which the loss must not change: builtin:prose|code, or a file")
    plain_rows: int = Field(8, ge=0, description="rows of 64 tokens of it that each change is made on, at every token; 0: none")
    answers: list[str] = Field(default_factory=list, description=answer_sets.DESCRIPTION)
    controls: list[Literal["random", "matched_frequency", "matched_norm", "placebo"]] = Field(
        ["random", "matched_frequency", "matched_norm"], description="changes of the same kind where no effect is expected"
    )
    draws: int | None = Field(
        None,
        ge=1,
        le=2000,
        description="controls of each kind but placebo; each counts once. Left out: so many that one effect beyond all of them is clear "
        "among the features and strengths that are tried (20 for each), up to 400",
    )
    most_prompts: int = Field(64, ge=2, description="positives, and negatives, that are run at most")
    alpha: float = Field(0.05, gt=0.0, lt=1.0, description="false discovery rate over features and strengths")


def everywhere(params: Params, convention: Convention) -> bool:
    """Whether changes are made at every token; else at the last one alone."""
    as_the_peer = convention == HIDDEN_STATES and params.verb == "ablate"
    return params.positions == "all" or (params.positions == "auto" and as_the_peer)


def draws_of(params: Params, features: int) -> int:
    """Controls of a kind: K of them give no p below 1/(K + 1), which correction for n tests multiplies by n."""
    tests = features * len(params.strengths)
    return params.draws or min(MOST_DRAWS, max(FEWEST, math.ceil(tests / params.alpha) - 1))
