"""Result of `development`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..payload import Payload, ResultFile, Row
from .sampling import LLC, SamplingHeadline


class DevelopmentStage(Payload):
    """The step between two checkpoints at which a quantity changed most, clear of its errors."""

    quantity: str = Field(description="which of the series")
    from_: int | None = Field(validation_alias="from", serialization_alias="from", description="number of the checkpoint before")
    to: int | None = Field(description="number of the checkpoint after")
    before: float | None = Field(description="its value before")
    after: float | None = Field(description="its value after")
    std_error: float | None = Field(description="standard error of the change")


class DevelopmentResult(ResultFile):
    """Quantities over checkpoints of a training, and the stages between their turns."""

    revisions: tuple[str, ...] = Field(description="the checkpoints")
    series: Mapping[str, Row] = Field(description="each quantity by checkpoint; 'x_std_error' is the error of x")
    stages: tuple[DevelopmentStage, ...] = Field(description="where quantities changed by more than their errors")


class DevelopmentHeadline(SamplingHeadline):
    """The last checkpoint's numbers; while chains run, their estimate."""

    fact_accuracy: float | None = Field(default=None, description="share of facts that the last checkpoint knows")


class CheckpointCase(Payload):
    """Series `case`: one checkpoint, as a point of a sweep is told of."""

    values: Mapping[str, Any] = Field(description="the checkpoint, by the key of the manifest")
    state: str = Field(description="done or failed")
    headline: Mapping[str, float | None] = Field(description="its numbers")
    reason: str = Field(description="why it failed")


LIVE: Mapping[str, type[Payload]] = {**LLC, "case": CheckpointCase}
