"""Result of `match`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class FeatureMatch(Payload):
    """A feature of one side and what it is on the other."""

    left: str = Field(description="feature on the left")
    right: str = Field(description="feature on the right")
    score: float | None = Field(description="how alike they are, from 0 to 1")
    components: Mapping[str, float | None] = Field(description="by axis: text, activation, decoder, causal")
    null_quantile: float | None = Field(description="share of chance matches with a lower score")
    left_label: str | None = Field(description="what the left is called")
    right_label: str | None = Field(description="what the right is called")
    left_signed_effect: float | None = Field(description="effect of changing the left; null without one")
    right_signed_effect: float | None = Field(description="effect of changing the right")


class MatchResult(ResultFile):
    """Which feature is which, and how many pairs chance would match as well."""

    matches: tuple[FeatureMatch, ...] = Field(description="pairs, best first")
    left_features: int | None = Field(description="features on the left")
    right_features: int | None = Field(description="features on the right")
    null_score_95: float | None = Field(description="score that 95 % of chance matches stay below")
    beyond_chance: int | None = Field(description="pairs above it")
    null_quantile: float | None = Field(description="of the best pair")


class MatchHeadline(Headline):
    """How many pairs are beyond chance."""

    matches: int | None = Field(default=None, description="pairs")
    beyond_chance: int | None = Field(default=None, description="pairs above what chance reaches")
    best: float | None = Field(default=None, description="score of the best")


class ShownCard(Payload):
    """What is shown of a card beside another."""

    feature_id: str | None = Field(description="the feature")
    model: str | None = Field(description="its model")
    layer: int | None = Field(description="its layer")
    label: str | None = Field(description="what it is called")
    explanation: str | None = Field(description="the evidence in a sentence")
    examples: tuple[str, ...] = Field(description="texts it fires on")


class MatchCase(FeatureMatch):
    """Series `case`: one pair, with both cards."""

    left_card: ShownCard = Field(description="the left's")
    right_card: ShownCard = Field(description="the right's")


LIVE: Mapping[str, type[Payload]] = {"case": MatchCase}
