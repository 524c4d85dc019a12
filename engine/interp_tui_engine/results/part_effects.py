"""Results of `activation_patch`, `path_patch` and `attribution_patch`: the effect of each part."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile
from .reach import Reach


class PartEffect(Payload):
    """What goes of the behaviour when one head, MLP or edge is taken from the other run."""

    name: str = Field(description="the part")
    effect: float | None = Field(description="share of the reach that goes")
    low: float | None = Field(description="lower end of its 95 % interval over pairs")
    high: float | None = Field(description="upper end")
    guess: float | None = Field(default=None, description="the same by gradients")


class TopHeldOut(Payload):
    """The largest effect, chosen on one half of the pairs and measured on the other."""

    effect: float | None = Field(description="the effect")
    parts: tuple[str, ...] = Field(description="the part that each half chose")


class PartEffectsResult(ResultFile):
    """The effect of each part."""

    effects: Mapping[str, float | None] = Field(description="share of the reach that goes with each part")
    top: tuple[PartEffect, ...] = Field(description="the largest, first")
    top_held_out: TopHeldOut | None = Field(description="the largest without the choice's luck; null for one pair")
    pairs: int | None = Field(description="pairs of prompts")
    clean_metric: float | None = Field(description="the metric on clean prompts")
    empty_metric: float | None = Field(description="the metric with every head and MLP taken")
    reach: Reach = Field(description="how far the two lie apart")


class AttributionPatchResult(PartEffectsResult):
    """Estimates by gradients beside exact effects of a sample."""

    method: str = Field(description="how effects are estimated")
    level: str = Field(description="node or edge")
    parts: int | None = Field(description="parts estimated")
    correlation: float | None = Field(description="of estimates with exact effects; null for too few or equal ones")
    estimates: Mapping[str, float | None] = Field(description="the largest estimates, as shares of the reach")


class PartEffectsHeadline(Headline):
    """The part that carries most."""

    clean_metric: float | None = Field(default=None, description="the metric on clean prompts, while parts are patched")
    empty_metric: float | None = Field(default=None, description="the metric with every part taken, while parts are patched")
    top: str = Field(default="", description="the part with the largest effect")
    effect: float | None = Field(default=None, description="its share of the reach")
    correlation: float | None = Field(default=None, description="of estimates with exact effects")
    verdict: str = Field(default="", description="what speaks against the numbers")


class PartCell(Payload):
    """Series `cells`: one part has been patched."""

    part: str = Field(description="the part")
    effect: float | None = Field(description="share of the reach that goes")
    guess: float | None = Field(description="the same by gradients; null where there is no estimate")
    clean_metric: float | None = Field(description="the metric on clean prompts")
    empty_metric: float | None = Field(description="the metric with every part taken")


LIVE: Mapping[str, type[Payload]] = {"cells": PartCell}
