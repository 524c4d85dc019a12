"""Result of `records`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class RecordsResult(ResultFile):
    """What was recorded, and where."""

    rows: int | None = Field(description="rows written")
    prompts: int | None = Field(description="prompts read")
    features: int | None = Field(description="features a row may hold")
    path: str = Field(description="the file, in the run folder")
    site: str = Field(description="where activations were read")
    pool: str = Field(description="how a prompt's positions are made one row")
    model: str = Field(description="the model's name in the records")
    prompts_per_second: float | None = Field(description="speed")
    sae: str = Field(default="", description="the dictionary, where features are its latents")
    latents: int | None = Field(default=None, description="its latents")
    fitted_on: int | None = Field(default=None, description="prompts that a contrast direction was fitted on")
    positives: int | None = Field(default=None, description="of those, prompts that meet the criterion")


class RecordsHeadline(Headline):
    """How much was recorded."""

    rows: int | None = Field(default=None, description="rows written")
    features: int | None = Field(default=None, description="features a row may hold")


class RecordsProgress(Payload):
    """Series `records`: how far the recording is."""

    rows: int | None = Field(description="rows written")
    prompts_per_second: float | None = Field(description="speed")


LIVE: Mapping[str, type[Payload]] = {"records": RecordsProgress}
