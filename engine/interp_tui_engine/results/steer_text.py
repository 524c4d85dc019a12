"""Result of `steer_text`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class SteeredRow(Payload):
    """What the model writes after one prompt at one strength."""

    prompt: str = Field(description="the prompt")
    strength: float | None = Field(description="the strength")
    before: str = Field(description="what it writes unsteered")
    after: str = Field(description="what it writes steered")
    kl: float | None = Field(description="KL of the next token's distribution from the unsteered one, nats")
    effect: float | None = Field(description="change of the answer's log probability, nats; null without an answer")


class SteeredPoint(Payload):
    """One strength, over the prompts."""

    strength: float | None = Field(description="the strength")
    kl: float | None = Field(description="mean KL from unsteered, nats")
    effect: float | None = Field(description="mean change of the answer's log probability, nats")


class SteerTextResult(ResultFile):
    """Texts with and without steering."""

    site: str = Field(description="where the direction is added")
    direction: str = Field(description="what the direction is")
    verb: str = Field(description="add, ablate or clamp")
    step: float | None = Field(description="length of a strength of 1")
    zero: float | None = Field(description="the value along the direction that counts as 0")
    rows: tuple[SteeredRow, ...] = Field(description="every prompt and strength")
    curve: tuple[SteeredPoint, ...] = Field(description="every strength")
    arrays: tuple[str, ...] = Field(description="where tokens are, in the run folder")


class SteerTextHeadline(Headline):
    """How many texts changed."""

    changed: int | None = Field(default=None, description="texts that differ from the unsteered one")
    of: int | None = Field(default=None, description="texts in all")
    kl: float | None = Field(default=None, description="mean KL at the largest strength, nats")


class SteeredVariant(Payload):
    """A prompt's text at one strength, in tokens."""

    strength: float | None = Field(description="the strength")
    after_tokens: tuple[str, ...] = Field(description="what the model writes")
    after_logprob: float | None = Field(description="log probability of the answer; null without one")
    kl: float | None = Field(description="KL of the next token's distribution from the unsteered one, nats")


class SteerTextCell(Payload):
    """Series `cells`: one prompt, at every strength."""

    prompt: str = Field(description="the prompt")
    before_tokens: tuple[str, ...] = Field(description="what the model writes unsteered")
    before_logprob: float | None = Field(description="log probability of the answer; null without one")
    kl: float | None = Field(description="0, for the unsteered text")
    after: tuple[SteeredVariant, ...] = Field(description="every strength")
    direction: str = Field(default="", description="what the direction is, in the first event")
    site: str = Field(default="", description="where it is added, in the first event")
    verb: str = Field(default="", description="add, ablate or clamp, in the first event")
    step: float | None = Field(default=None, description="length of a strength of 1, in the first event")


LIVE: Mapping[str, type[Payload]] = {"cells": SteerTextCell}
