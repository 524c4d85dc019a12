"""Results of `interventions` and `steer`, and the line of an effect that `contrast` has too."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class ControlEffects(Payload):
    """What controls of one kind did."""

    mean: float | None = Field(description="their mean")
    low: float | None = Field(description="lower end of the interval in which 95 % of such controls lie")
    high: float | None = Field(description="upper end")
    count: int | None = Field(description="how many there were")


class LossChange(Payload):
    """What a change does to the model on plain text."""

    loss_change: float | None = Field(description="change of the loss on plain text, nats a token")
    loss_low: float | None = Field(description="lower end of its 95 % interval over rows")
    loss_high: float | None = Field(description="upper end")
    loss_control: float | None = Field(description="the same for controls")


class EffectLine(Payload):
    """The effect of changing one feature by one strength. Also the series `case`."""

    feature_id: str = Field(description="the feature")
    verb: str = Field(description="what was done: ablate, steer, …")
    strength: float | None = Field(description="how strongly, in the verb's unit")
    effect: float | None = Field(description="mean change of the score, in the verb's direction")
    low: float | None = Field(description="lower end of its 95 % interval over prompts")
    high: float | None = Field(description="upper end")
    rows: int | None = Field(description="prompts it is over")
    p: float | None = Field(description="p beside its controls")
    q: float | None = Field(description="false discovery rate over all effects; null while controls come in")
    units: float | None = Field(description="the effect in spreads of its controls")
    control_spread: float | None = Field(description="their spread")
    control_count: int | None = Field(description="how many they are")
    side_effect: float | None = Field(description="mean |Δ| on prompts that do not meet the criterion")
    controls: Mapping[str, ControlEffects] = Field(description="by kind of control")
    control: float | None = Field(description="mean of all controls")
    control_low: float | None = Field(description="lower end of the interval in which 95 % of them lie")
    control_high: float | None = Field(description="upper end")
    specificity: float | None = Field(description="effect less side effect, as a share")
    strong: float | None = Field(description="score of a strong effect without side effects")
    clear: bool | None = Field(description="whether it is clear of 0 and of every kind of control")
    loss_change: float | None = Field(default=None, description="change of the loss on plain text, nats a token")
    loss_low: float | None = Field(default=None, description="lower end of its 95 % interval over rows")
    loss_high: float | None = Field(default=None, description="upper end")
    loss_control: float | None = Field(default=None, description="the same for controls")


class ChangeResult(ResultFile):
    """What `interventions`, `steer` and `contrast` have in common."""

    model: str = Field(description="the model, as rows name it")
    criterion: str = Field(description="what the positives meet")
    verb: str = Field(description="what was done")
    metric: str = Field(description="what an effect is measured in")
    rows: int | None = Field(description="rows of interventions written")
    positives: int | None = Field(description="prompts that meet the criterion")
    negatives: int | None = Field(description="prompts that do not")
    effects: tuple[EffectLine, ...] = Field(description="every feature and strength")
    chosen_strength: float | None = Field(description="strength of the chosen one")
    effect: float | None = Field(description="its effect")
    effect_low: float | None = Field(description="lower end of its interval, which holds for all effects at once")
    effect_high: float | None = Field(description="upper end")
    effect_in_controls: float | None = Field(description="the effect in spreads of its controls")
    side_effect: float | None = Field(description="mean |Δ| where no effect is wanted")
    at_edge: str | None = Field(description="what to say of a strength at the end of the grid; null inside it")
    path: str = Field(description="file of the rows, in the run folder")
    loss_change: float | None = Field(default=None, description="change of the loss on plain text, nats a token")
    loss_low: float | None = Field(default=None, description="lower end of its 95 % interval")
    loss_high: float | None = Field(default=None, description="upper end")


class InterventionsResult(ChangeResult):
    """What changing each feature does."""

    baseline: float | None = Field(description="mean score without a change")
    chosen: str = Field(description="the strongest feature among those that are clear, else of all")


class InterventionsHeadline(Headline):
    """The strongest effect."""

    top: str = Field(default="", description="its feature")
    effect: float | None = Field(default=None, description="the effect")
    in_controls: float | None = Field(default=None, description="in spreads of its controls")
    clear: int | None = Field(default=None, description="effects clear of 0 and of their controls")


LIVE: Mapping[str, type[Payload]] = {"case": EffectLine}
