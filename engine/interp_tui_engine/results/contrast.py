"""Result of `contrast`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload
from .interventions import ChangeResult, EffectLine


class StrengthPoint(Payload):
    """What one strength does on the prompts that strengths are chosen on. Also the series `cells`."""

    strength: float | None = Field(description="in distances between the classes' means")
    effect: float | None = Field(description="mean Δ where it is wanted")
    side_effect: float | None = Field(description="mean |Δ| elsewhere")
    gain: float | None = Field(description="the one less the other")


class ContrastResult(ChangeResult):
    """A direction between two classes of prompts, and what steering along it does."""

    feature: str = Field(description="name of the direction")
    distance: float | None = Field(description="distance between the classes' means")
    curve: tuple[StrengthPoint, ...] = Field(description="every strength")
    p: float | None = Field(description="p of the effect beside its controls")
    direction: str = Field(description="file of the direction, in the run folder")
    wanted_on: str = Field(description="where an effect is wanted: positives or negatives")
    prompts: Mapping[str, tuple[int, ...]] = Field(description="by part (fit, choose, report): positives and negatives")


class ContrastHeadline(Headline):
    """The effect at the strength chosen."""

    strength: float | None = Field(default=None, description="the strength chosen")
    effect: float | None = Field(default=None, description="its effect on prompts that nothing was chosen on")
    in_controls: float | None = Field(default=None, description="in spreads of its controls")
    clear: bool | None = Field(default=None, description="whether it is clear of 0 and of its controls")


LIVE: Mapping[str, type[Payload]] = {"case": EffectLine, "cells": StrengthPoint}
