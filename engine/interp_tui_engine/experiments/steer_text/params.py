"""What steer_text may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...specs import FILE, Table


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
