"""Result of `calibrate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..payload import Headline, Payload, ResultFile
from .sampling import RunVerdict


class SamplerSetting(Payload):
    """One setting of the sampler."""

    lr: float | None = Field(description="step size")
    n_beta: float | None = Field(description="inverse temperature times rows; 0 in a control")
    localization: float | None = Field(description="strength of the pull towards the initial weights")


class CalibrationCell(Payload):
    """What one setting came to."""

    setting: SamplerSetting = Field(description="the setting")
    rise: float | None = Field(description="mean rise of the loss above L(w₀), nats a token")
    llc: float | None = Field(description="λ̂; null in a control")
    llc_error: float | None = Field(description="its standard error")
    rhat: float | None = Field(description="split R̂")
    ess: float | None = Field(description="bulk ESS, draws")
    acceptance: float | None = Field(description="share of steps that a Metropolis test would accept")
    acceptance_error: float | None = Field(description="its standard error")
    drift: float | None = Field(description="change of the loss from the first half to the second, as a share of its rise")
    drift_error: float | None = Field(description="its standard error")
    failed: int | None = Field(description="chains that failed")
    chains: int | None = Field(description="chains")
    loss: float | None = Field(description="mean loss after burn-in, nats a token")
    uniform: float | None = Field(description="loss of guessing every token alike, nats a token")
    control: bool | None = Field(description="whether the setting is a control without the loss's pull")
    usable: bool | None = Field(description="whether it passed; null for a control")
    against: tuple[str, ...] = Field(description="what speaks against it")


class CalibrateResult(ResultFile):
    """Which setting to sample with."""

    verdict: str = Field(description="the choice in a sentence")
    usable: bool | None = Field(description="whether the chosen setting passed")
    reasons: tuple[str, ...] = Field(description="what speaks for or against it")
    setting: SamplerSetting = Field(description="the setting chosen, or the nearest to one that passes")
    cells: tuple[CalibrationCell, ...] = Field(description="every setting, controls too")
    manifest: str = Field(description="file in the run folder: a manifest with the setting chosen")


class CalibrateHeadline(Headline):
    """How many settings passed, and the one chosen."""

    usable: int | None = Field(default=None, description="settings that passed")
    settings: int | None = Field(default=None, description="settings tried, without controls")
    lr: float | None = Field(default=None, description="step size of the one chosen")
    n_beta: float | None = Field(default=None, description="its inverse temperature")
    localization: float | None = Field(default=None, description="its localization")


class SettingCase(Payload):
    """Series `case`: one setting, as a point of a sweep is told of."""

    values: Mapping[str, Any] = Field(description="the setting, by the keys of the manifest")
    state: str = Field(description="usable, rejected or control")
    headline: Mapping[str, Any] = Field(description="its numbers: λ̂, rise, R̂, ESS, acceptance")
    reason: str = Field(description="what speaks against it")


LIVE: Mapping[str, type[Payload]] = {"case": SettingCase, "verdict": RunVerdict}
