"""Result of `inspect`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile, Row, read


class RankedFeature(Payload):
    """One feature with the evidence for it, on rows it was not chosen on; a line of the table of all features."""

    rank: int | None = Field(description="its rank, from 1")
    feature_id: str = Field(description="its name")
    layer: int | None = Field(description="its layer")
    label: str | None = Field(description="what it is called")
    importance: float | None = Field(description="what the ranking orders by, from 0 to 1")
    tier: int | None = Field(description="0 nothing, 1 goes with the criterion, 2 causes it")
    auroc: float | None = Field(description="area under the ROC curve on held-out rows")
    auroc_low: float | None = Field(description="lower end of its 95 % interval")
    auroc_high: float | None = Field(description="upper end")
    auroc_fitted: float | None = Field(description="AUROC on the other rows")
    direction: int | float | None = Field(description="1 where it rises with the criterion, −1 where it falls")
    correlation: float | None = Field(description="with the score")
    correlation_low: float | None = Field(description="lower end of its 95 % interval")
    correlation_high: float | None = Field(description="upper end")
    z: float | None = Field(description="standardised rank sum")
    p: float | None = Field(description="p of that")
    q: float | None = Field(description="false discovery rate at which it is found")
    family_p: float | None = Field(description="p of the largest z of all features")
    fires: int | None = Field(description="rows it fires on")
    density: float | None = Field(description="share of rows it fires on")
    stability: float | None = Field(description="share of folds that agree")
    specificity: float | None = Field(description="how much better it fits this criterion than others")
    effect: float | None = Field(description="what changing it does to the score")
    effect_low: float | None = Field(description="lower end of its 95 % interval")
    effect_high: float | None = Field(description="upper end")
    effect_q: float | None = Field(description="false discovery rate of the effect")
    clear: bool | None = Field(description="whether the effect is clear of 0 and of its controls")
    side_effect: float | None = Field(description="mean |Δ| on other prompts")
    control: float | None = Field(description="mean effect of the controls")
    strong: float | None = Field(description="score of a strong effect without side effects")
    effect_rows: int | None = Field(description="interventions behind the effect")
    repeats: float | None = Field(description="cosine with its like from another start")


class Activating(Payload):
    """A text on which a feature fires, as a card has it."""

    activation: float | None = Field(default=None, description="its value there")
    text: str = Field(default="", description="the text")
    tokens: tuple[str, ...] = Field(default=(), description="consecutive pieces of the text, the one it fires on most among them")
    values: Row = Field(default=(), description="its value on each of them")


class ValueHistogram(Payload):
    """A feature's values where it fires, in equal bins."""

    counts: tuple[int | None, ...] = Field(default=(), description="rows in each bin")
    low: float | None = Field(default=None, description="lowest value")
    high: float | None = Field(default=None, description="highest value")
    silent: int | None = Field(default=None, description="rows it does not fire on")


class CardEvidence(Payload):
    """What a card's metadata says of the feature."""

    activating: tuple[Activating, ...] = Field(default=(), description="texts it fires on most")
    histogram: ValueHistogram = Field(default_factory=lambda: read(ValueHistogram, {}), description="its values")
    promotes: tuple[str, ...] = Field(default=(), description="tokens it makes likelier")
    suppresses: tuple[str, ...] = Field(default=(), description="tokens it makes less likely")
    nearest: tuple[str, ...] = Field(default=(), description="features whose directions are nearest")
    detection: float | None = Field(default=None, description="how often its label tells its texts from silent ones")


class FeatureCard(Payload):
    """What is shown of a card of report.json, which holds more: it is interp-lab's own format."""

    feature_id: str = Field(default="", description="the feature")
    model: str = Field(default="", description="its model")
    layer: int | None = Field(default=None, description="its layer")
    label: str | None = Field(default=None, description="what it is called")
    metadata: CardEvidence | None = Field(default=None, description="the evidence; null where the card has none")


class InspectResult(ResultFile):
    """Which features go with a criterion, and which bring it about."""

    model: str = Field(description="the model, as the records name it")
    criterion: str = Field(description="the criterion")
    ranking: str = Field(description="how features are ordered")
    rows: int | None = Field(description="rows read")
    held_out_rows: int | None = Field(default=None, description="rows that evidence is on")
    held_out_positives: int | None = Field(default=None, description="of those, rows that meet the criterion")
    groups: int | None = Field(default=None, description="groups of rows that stay on one side")
    unit: str = Field(default="", description="what counts as one observation: row or text")
    features: int | None = Field(description="features ranked")
    tested: int | None = Field(description="features that fire often enough to be tested")
    associated: int | None = Field(description="features that go with the criterion")
    causal: int | None = Field(description="of those, features that cause it")
    null_z_95: float | None = Field(default=None, description="z that 95 % of shuffles stay below")
    cards: tuple[RankedFeature, ...] = Field(description="the first 50")
    table: str = Field(description="file with all features, in the run folder")
    report: str = Field(description="file with the cards, in the run folder")


class InspectHeadline(Headline):
    """The first feature, and how many there are."""

    top: str = Field(default="", description="the first feature")
    auroc: float | None = Field(default=None, description="its AUROC")
    associated: int | None = Field(default=None, description="features that go with the criterion")
    causal: int | None = Field(default=None, description="features that cause it")
    rows: int | None = Field(default=None, description="rows recorded, while prompts are read")
    features: int | None = Field(default=None, description="features a row may hold, while prompts are read")


class RecordsRead(Payload):
    """Series `records`: how far the reading is; where prompts are recorded first, how far that is."""

    rows: int | None = Field(description="rows read, or written")
    features: int | None = Field(default=None, description="features seen")
    rows_per_second: float | None = Field(default=None, description="speed of reading")
    prompts_per_second: float | None = Field(default=None, description="speed of recording")


LIVE: Mapping[str, type[Payload]] = {"records": RecordsRead}
