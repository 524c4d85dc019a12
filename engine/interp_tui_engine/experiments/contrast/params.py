"""What contrast may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...features import answer_sets
from ...specs import FILE, Table


class Params(Table):
    """Prompts, where the direction is read and added, and the strengths to choose from."""

    criterion: str = Field(min_length=1, description="the criterion in one sentence")
    prompts: str = Field(
        min_length=1, json_schema_extra=FILE, description="a .jsonl of {text, criterion_score, answer}, or builtin:capital and the like"
    )
    layer: int = Field(0, ge=0, description="the residual stream after this layer")
    strengths: list[Annotated[float, Field(gt=0)]] = Field(
        [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
        min_length=1,
        description="in units of the distance between the means of positives and negatives",
    )
    metric: Literal["logit_diff", "log_odds", "prob", "logprob", "sequence"] = Field(
        "logprob", description="score of the answer at the last token; sequence: log-probability of the whole answer"
    )
    answers: list[str] = Field(default_factory=list, description=answer_sets.DESCRIPTION)
    shared_answers: bool = Field(
        False,
        description="does it make other prompts end so? All are scored by the set of all positives' answers, and the effect is that on "
        "negatives, the side effect that on positives; when false the effect is on positives' own answers",
    )
    fit: float = Field(0.4, gt=0.0, lt=1.0, description="share of the prompts that the direction is fitted on")
    choose: float = Field(0.3, gt=0.0, lt=1.0, description="share that the strength is chosen on; the rest are reported on")
    draws: int = Field(40, ge=1, le=2000, description="controls of each kind: random directions of the same length, and shuffled labels")
    alpha: float = Field(0.05, gt=0.0, lt=1.0, description="largest p at which an effect stands out from its controls")
    plain_text: str = Field("builtin:prose", description="text on which the loss must not change: builtin:prose|code, or a file")
    plain_rows: int = Field(8, ge=0, description="rows of 64 tokens of it that are steered at every token; 0: none")
    batch_size: int = Field(64, ge=1, description="prompts in one forward pass")


def part_sizes(params: Params, members: int) -> tuple[int, int, int]:
    """How many members of a class are fitted on, chosen on and reported on."""
    fitted, chosen = round(params.fit * members), round(params.choose * members)
    return fitted, chosen, members - fitted - chosen
