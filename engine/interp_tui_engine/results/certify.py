"""Result of `certify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class KnownCase(Payload):
    """One case whose learning coefficient is known, beside its estimate. Also the series `case`."""

    name: str = Field(description="the case")
    family: str = Field(default="", description="its family: quadratic, monomial, …")
    true: float | None = Field(description="the learning coefficient that is known, λ")
    estimate: float | None = Field(description="λ̂ less the step-size bias and the finite-temperature term")
    std_error: float | None = Field(description="its standard error over independent chains")
    raw: float | None = Field(description="what the sampler measured")
    step_bias: float | None = Field(description="bias of the step size")
    finite_temperature: float | None = Field(description="how far λ at this temperature lies from its limit")
    passed: bool | None = Field(description="whether it is within three errors of the exact value and within 10 % of λ")
    seconds: float | None = Field(description="time it took, seconds")
    exact: float | None = Field(description="the exact value at the case's own temperature")
    exact_std_error: float | None = Field(description="its standard error, where it is sampled itself")
    measurements: int | None = Field(description="how often it was measured")
    reason: str = Field(description="why it failed; empty where it passed")
    case: Mapping[str, Any] = Field(default_factory=dict, description="the case as the manifest has it")


class CertifyResult(ResultFile):
    """Every case, and whether all passed."""

    cases: tuple[KnownCase, ...] = Field(description="the cases, in the order they ran")
    passed: bool | None = Field(description="whether all passed")
    noise: str = Field("torch", description="what the noise of the steps is made of: torch or philox")


class CertifyHeadline(Headline):
    """How many passed."""

    passed: int | None = Field(default=None, description="cases that passed")
    cases: int | None = Field(default=None, description="cases tried")


LIVE: Mapping[str, type[Payload]] = {"case": KnownCase}
