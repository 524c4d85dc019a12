"""Result of a sweep of any kind, as its supervisor writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class PointRecord(Payload):
    """One point. Also the series `case`, and with fewer keys that of calibrate and development."""

    index: int | None = Field(default=None, description="its number")
    values: Mapping[str, Any] = Field(default_factory=dict, description="the values swept, by key of the manifest")
    state: str = Field(default="", description="done, failed, crashed, …")
    folder: str = Field(default="", description="its folder, in the run folder")
    headline: Mapping[str, Any] = Field(default_factory=dict, description="its headline")
    result: Mapping[str, Any] = Field(default_factory=dict, description="every single number or word of its result")
    reason: str = Field(default="", description="why it ended as it did")


class SweepResult(ResultFile):
    """Every point."""

    of: str = Field(description="the kind of run at every point")
    axes: Mapping[str, Any] = Field(description="the values swept, by key of the manifest")
    points: tuple[PointRecord, ...] = Field(description="the points, in order")


class SweepHeadline(Headline):
    """How many points are done."""

    points: int | None = Field(default=None, description="points in all")
    done: int | None = Field(default=None, description="points that are done")
    ended: int | None = Field(default=None, description="points that have ended, while others run")
