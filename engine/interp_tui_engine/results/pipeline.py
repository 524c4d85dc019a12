"""Result of `pipeline`, as its supervisor writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..payload import Headline, Payload, ResultFile
from .interventions import ControlEffects


class FoundFeature(Payload):
    """The feature that the steps are about: what its ranking, its interventions say of it."""

    step: str = Field(default="", description="id of the step that ranked it")
    criterion: str = Field(default="", description="the criterion")
    feature_id: str = Field(default="", description="the feature")
    label: str | None = Field(default=None, description="what it is called")
    auroc: float | None = Field(default=None, description="area under the ROC curve on held-out rows")
    auroc_low: float | None = Field(default=None, description="lower end of its 95 % interval")
    auroc_high: float | None = Field(default=None, description="upper end")
    q: float | None = Field(default=None, description="false discovery rate at which it is found")
    stability: float | None = Field(default=None, description="share of folds that agree")
    interventions: str = Field(default="", description="id of the step that changed it")
    metric: str | None = Field(default=None, description="what the effect is measured in")
    verb: str | None = Field(default=None, description="what was done")
    effect: float | None = Field(default=None, description="mean change of the score")
    effect_low: float | None = Field(default=None, description="lower end of its 95 % interval")
    effect_high: float | None = Field(default=None, description="upper end")
    effect_q: float | None = Field(default=None, description="false discovery rate of the effect")
    clear: bool | None = Field(default=None, description="whether it is clear of 0 and of its controls")
    side_effect: float | None = Field(default=None, description="mean |Δ| on other prompts")
    control: float | None = Field(default=None, description="mean of its controls")
    control_low: float | None = Field(default=None, description="lower end of the interval in which 95 % of them lie")
    control_high: float | None = Field(default=None, description="upper end")
    controls: Mapping[str, ControlEffects] | None = Field(default=None, description="by kind of control")
    rows: int | None = Field(default=None, description="prompts the effect is over")
    loss_change: float | None = Field(default=None, description="change of the loss on plain text, nats a token")


class FoundDictionary(Payload):
    """The dictionary that a step trained, on held-out activations."""

    step: str = Field(default="", description="id of the step")
    fvu: float | None = Field(default=None, description="share of the variance unexplained")
    l0: float | None = Field(default=None, description="active latents a token")
    dead_fraction: float | None = Field(default=None, description="share of dead latents")
    ce_loss_recovered: float | None = Field(default=None, description="share of the loss kept")
    latents: int | None = Field(default=None, description="how many latents")
    architecture: str | None = Field(default=None, description="topk, relu, …")


class FoundMatch(Payload):
    """The pair that the feature is in; else the best pair."""

    step: str = Field(default="", description="id of the step")
    pairs: int | None = Field(default=None, description="pairs matched")
    beyond_chance: int | None = Field(default=None, description="of those, beyond chance")
    of_found: bool | None = Field(default=None, description="whether the pair holds the feature found")
    left: str | None = Field(default=None, description="feature on the left")
    right: str | None = Field(default=None, description="feature on the right")
    score: float | None = Field(default=None, description="how alike they are, from 0 to 1")
    null_quantile: float | None = Field(default=None, description="share of chance matches with a lower score")
    components: Mapping[str, float | None] | None = Field(default=None, description="by axis")


class FoundTogether(Payload):
    """Series `found`: what the steps found together."""

    sentences: tuple[str, ...] = Field(default=(), description="the same in words")
    found: FoundFeature | None = Field(default=None, description="the feature")
    dictionary: FoundDictionary | None = Field(default=None, description="the dictionary")
    match: FoundMatch | None = Field(default=None, description="its match")


class StepCase(Payload):
    """Series `case`: one step."""

    index: int | None = Field(description="its number")
    id: str = Field(description="its id")
    kind: str = Field(description="its kind")
    state: str = Field(description="queued, running, done, failed, …")
    folder: str = Field(description="its folder, in the run folder")
    headline: Mapping[str, Any] = Field(description="its headline")
    fraction: float | None = Field(description="how far it is, from 0 to 1")
    seconds: float | None = Field(description="how long it ran, seconds")
    needs: tuple[str, ...] = Field(description="steps it reads from")
    reused: str | None = Field(description="the run it was taken over from, if any")
    reason: str = Field(description="why it ended as it did")


class PipelineResult(ResultFile, FoundTogether):
    """Every step, and what they found together."""

    steps: tuple[StepCase, ...] = Field(description="the steps")
    top: str = Field(default="", description="the feature")
    auroc: float | None = Field(default=None, description="its AUROC")
    effect: float | None = Field(default=None, description="its effect")
    side_effect: float | None = Field(default=None, description="its side effect")
    matched: float | None = Field(default=None, description="score of its match")


class PipelineHeadline(Headline):
    """What was found; while steps run, how far they are."""

    steps: int | None = Field(default=None, description="steps in all")
    done: int | None = Field(default=None, description="steps that are done")
    running: str = Field(default="", description="ids of those that run")
    top: str = Field(default="", description="the feature")
    auroc: float | None = Field(default=None, description="its AUROC")
    effect: float | None = Field(default=None, description="its effect")
    side_effect: float | None = Field(default=None, description="its side effect")
    matched: float | None = Field(default=None, description="score of its match")


LIVE: Mapping[str, type[Payload]] = {"case": StepCase, "found": FoundTogether}
