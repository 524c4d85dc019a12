"""What logit_lens may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...specs import FILE, Table


class Params(Table):
    """Which prompt, what to ask each layer about, and through which lens."""

    prompt: str = Field(min_length=1, description="the text to read")
    answer: str | list[str] | None = Field(None, description="what should follow; the model's own likeliest token when left out")
    positions: Literal["all", "last"] | list[int] = Field("all", description="'all', 'last', or token positions; -1 is the last")
    top_k: int = Field(5, ge=1, le=50, description="likeliest tokens to keep for each layer and position")
    long_answers: Literal["error", "first"] = Field("error", description="for an answer of several tokens: refuse, or look at the first")
    lens: Literal["logit", "tuned"] = Field(
        "logit", description="'tuned' reads through a map fitted for each layer too, beside the logit lens"
    )
    tuned_from: str | None = Field(
        None, json_schema_extra=FILE, description="a run folder or file with a tuned lens; fitted here when left out"
    )
    data: str = Field("train", description="which [data.NAME] a tuned lens is fitted to")
    fit_steps: int = Field(250, ge=1, description="steps of fitting, Adam's rate falling to 0 over them")
    fit_lr: float = Field(1e-3, gt=0, description="Adam's rate at the first step")
    fit_batch: int = Field(8, ge=1, description="rows a step")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of the rows that the lens is measured on and not fitted to")
    domains: list[str] = Field(
        ["builtin:prose", "builtin:code", "builtin:facts"],
        description="texts besides, on which a fitted lens is measured: names of [data] tables, or built-in texts, their held-out part",
    )
