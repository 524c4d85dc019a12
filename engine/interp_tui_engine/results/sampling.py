"""Results of `sample` and `llc`, and what every run that samples chains says while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ..payload import Headline, Payload, ResultFile, Row


class FailedChain(Payload):
    """Where a chain went non-finite."""

    step: int | None = Field(description="step at which it failed")
    cause: str = Field(description="what was not finite")


class SampleResult(ResultFile):
    """How the chains moved, and whether they mixed."""

    init_loss: float | None = Field(description="loss at the initial weights, nats a token")
    loss_mean: float | None = Field(description="mean loss of the healthy chains after burn-in, nats a token")
    healthy_chains: tuple[int, ...] = Field(description="numbers of the chains that every estimate is over")
    failed_chains: Mapping[str, FailedChain] = Field(description="the other chains, by number")
    tokens_per_second: float | None = Field(description="tokens sampled on, a second")
    rhat: float | None = Field(description="split R̂ of the loss; 1 where the chains agree")
    ess: float | None = Field(description="bulk effective sample size of the loss, draws")
    executor: Mapping[str, Any] = Field(description="how the chains were run: threads, batched, one after another")
    acceptance: float | None = Field(default=None, description="share of steps that a Metropolis test would accept")
    acceptance_std_error: float | None = Field(default=None, description="its standard error")


class LLCResult(SampleResult):
    """The local learning coefficient, and whether it may be used as one."""

    llc_mean: float | None = Field(description="λ̂ = nβ·(E[L] − L(w₀)), mean over healthy chains")
    llc_std: float | None = Field(description="standard deviation of λ̂ over chains")
    llc_std_error: float | None = Field(description="Monte-Carlo standard error of λ̂")
    llc_per_chain: Row = Field(description="λ̂ of each chain; null for one that failed")
    baseline: str = Field(description="what L(w₀) is taken on: 'paired' with each draw's rows, or 'init'")
    verdict: str = Field(description="whether λ̂ may be used, in a sentence")
    usable: bool | None = Field(description="the verdict, as yes or no")
    reasons: tuple[str, ...] = Field(description="what speaks for or against it")
    control_rise: float | None = Field(description="rise of the loss with noise and localization alone, nats a token")


class SamplingHeadline(Headline):
    """The estimate and its diagnostics; while chains run, what is known so far."""

    llc_mean: float | None = Field(default=None, description="λ̂")
    llc_std: float | None = Field(default=None, description="standard deviation of λ̂ over chains, where there is no standard error")
    llc_std_error: float | None = Field(default=None, description="its standard error")
    loss_mean: float | None = Field(default=None, description="mean loss after burn-in, nats a token")
    rhat: float | None = Field(default=None, description="split R̂")
    ess: float | None = Field(default=None, description="bulk ESS, draws")


class StepParts(Payload):
    """Norms of what moved a chain at its newest step, in units of weight."""

    gradient: float | None = Field(description="the scaled gradient")
    pull: float | None = Field(description="localization and weight decay together")
    noise: float | None = Field(description="the noise")
    drift: float | None = Field(description="gradient and pull together")
    distance: float | None = Field(description="how far the chain is from where it started")


class StepOf(Payload):
    """What moved each chain of one worker, a part of `Chains`; lists are by chain, in the order of `chains`."""

    chains: tuple[int, ...] = Field(description="numbers of the chains")
    parts: tuple[StepParts | None, ...] = Field(default=(), description="what moved each chain, where metrics are saved")


class Chains(StepOf):
    """Series `chains`: the newest numbers of each chain of one worker; lists are by chain, in the order of `chains`."""

    step: tuple[int | None, ...] = Field(description="steps taken")
    steps_total: int | None = Field(description="steps a chain is to take")
    draws: tuple[int | None, ...] = Field(description="draws kept")
    draws_total: int | None = Field(description="draws a chain is to keep")
    burnin: int | None = Field(description="steps of burn-in")
    loss: Row = Field(description="newest loss, nats a token")
    llc: Row = Field(description="running λ̂ of each chain")
    grad: Row = Field(description="norm of the newest gradient")
    distance: Row = Field(description="distance from the initial weights")
    trace: tuple[tuple[Row, ...], ...] = Field(description="by chain, [draw, loss] since the last event, thinned to bucket means")


class EstimateSoFar(Payload):
    """Series `estimate`: the running estimate over the chains of one worker, or of all."""

    llc_mean: float | None = Field(description="λ̂ so far")
    llc_std_error: float | None = Field(description="its standard error")
    rhat: float | None = Field(description="split R̂ so far")
    ess: float | None = Field(description="bulk ESS so far, draws")
    init_loss: float | None = Field(description="loss at the initial weights, nats a token")
    tokens_per_second: float | None = Field(description="tokens sampled on, a second")
    memory_bytes: int | None = Field(description="resident memory of the worker, bytes")
    device_memory_bytes: int | None = Field(description="most memory used on the device, bytes; null on a CPU")
    halves: tuple[Row, ...] = Field(default=(), description="[draws, mean, variance] of each half of each chain, for joining workers")


class RunVerdict(Payload):
    """Series `verdict`: whether an estimate, or a setting, may be used."""

    text: str = Field(description="the verdict in a sentence")
    usable: bool | None = Field(description="the verdict, as yes or no")
    reasons: tuple[str, ...] = Field(description="what speaks for or against it")


SAMPLING: Mapping[str, type[Payload]] = {"chains": Chains, "estimate": EstimateSoFar}
"""What every run of chains says."""
LLC: Mapping[str, type[Payload]] = {**SAMPLING, "verdict": RunVerdict}
