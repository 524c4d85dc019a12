"""What a sampling run's numbers say, as plain values for its view. Headless."""

from __future__ import annotations

import math
import statistics

from interp_tui.runs.chain_rows import ChainNow
from interp_tui.runs.mixing_diagnosis import RHAT_BAD, Drift, Tone, drift, verdict
from interp_tui.runs.runstate import RunState
from interp_tui.text.ascii_words import spelled
from interp_tui.text.numbers import number, size, thousands, with_error
from interp_tui.text.sanitise import clean
from interp_tui.widgets.chains import ChainLine
from interp_tui.widgets.facts import Fact
from interp_tui_engine.results.sampling import EstimateSoFar, RunVerdict, SamplingHeadline

APART_SIGMAS = 3.0


def facts(state: RunState, *, ascii: bool) -> list[Fact]:
    """The running estimate with its error, the diagnostics, the speed; last, the verdict in words."""
    now = state.newest("estimate", EstimateSoFar)
    llc, rhat, ess = now.llc_mean, now.rhat, now.ess
    facts: list[Fact] = []
    dash = "-" if ascii else "—"
    if llc is not None:
        facts.append(Fact("llc" if ascii else "λ̂", spelled(with_error(llc, now.llc_std_error), ascii=ascii), loud=True))
    if state.traces:
        loss = state.newest("headline", SamplingHeadline).loss_mean
        if loss is not None and llc is None:
            facts.append(Fact("loss", number(loss), loud=True))
        apart = rhat is not None and rhat > RHAT_BAD
        facts.append(Fact("Rhat" if ascii else "R̂", number(rhat, 3) if rhat is not None else dash, "warn" if apart else ""))
        facts.append(Fact("ESS", number(round(ess)) if ess is not None else dash))
        moving = healthy_drift(state)
        facts.append(Fact("drift", f"{moving.share:+.1%}".replace("%", " %") if moving and math.isfinite(moving.share) else dash))
        chains = state.chains()
        healthy = sum(chain.failure is None for chain in chains)
        facts.append(Fact("healthy", f"{healthy}/{len(chains)} chains", "bad" if healthy < len(chains) else ""))
        if now.init_loss is not None:
            facts.append(Fact("loss0" if ascii else "L₀", number(now.init_loss), roomy=True))
    if now.tokens_per_second is not None:
        facts.append(Fact("speed", f"{thousands(now.tokens_per_second)} tok/s", roomy=True))
    for label, used in (("memory", now.memory_bytes), ("on device", now.device_memory_bytes)):
        if used is not None:
            facts.append(Fact(label, size(used), roomy=True))
    judged = state.newest("verdict", RunVerdict)
    if judged.text:  # the run is over and has judged itself
        tone: Tone = "good" if judged.usable is True else "bad"
        facts.append(Fact("verdict", spelled(clean(judged.text, limit=400), ascii=ascii), tone, loud=True, alone=True))
    elif state.traces:
        sentence, tone = verdict(draws=state.fewest_draws(), rhat=rhat, ess=ess, moving=healthy_drift(state))
        facts.append(Fact("verdict", spelled(sentence, ascii=ascii), tone, loud=True, alone=True))
    return facts


def healthy_drift(state: RunState) -> Drift | None:
    """The drift of the chains that count."""
    traces = [trace for chain, trace in state.traces.items() if chain not in state.failures]
    return drift(traces, 0, state.value("estimate", "init_loss"), state.value("estimate", "ess"))


def chain_lines(state: RunState, *, ascii: bool) -> list[ChainLine]:
    """A line for each chain."""
    return [_line(state, chain, ascii=ascii) for chain in state.chains()]


def _line(state: RunState, chain: ChainNow, *, ascii: bool) -> ChainLine:
    draws = f"{chain.draws}/{chain.draws_total}" if chain.draws_total else str(chain.draws)
    if chain.failure is not None:
        cause = clean(chain.failure.cause, limit=300) or "no cause given"
        advice = "" if "lr" in cause else "; lower lr or raise localization"
        failure = f"failed at step {chain.failure.step}: {cause}{advice}; left out of every estimate"
        return ChainLine(chain.chain, chain.fraction, draws, (None,) * 4, "", "bad", failure)
    health, tone = _health(state, chain)
    sign = {"good": "+" if ascii else "✓", "warn": "~", "bad": "!"}.get(tone, " ")
    return ChainLine(chain.chain, chain.fraction, draws, (chain.loss, chain.llc, chain.grad, chain.distance), f"{sign} {health}", tone)


def _health(state: RunState, chain: ChainNow) -> tuple[str, str]:
    """How a chain fares, in a word or two: whether its own mean still moves, and whether it sits apart from the others."""
    trace = state.traces.get(chain.chain)
    if not chain.draws or trace is None:
        return (f"burn-in {min(chain.step, state.burnin)}/{state.burnin}", "muted") if state.burnin else ("starting", "muted")
    ess = state.value("estimate", "ess")
    share = ess / max(1, len(state.traces) - len(state.failures)) if ess is not None else None
    moving = drift([trace], 0, state.value("estimate", "init_loss"), share)
    # a screen shows many chains, and two standard errors are exceeded by chance in one of twenty
    if moving is not None and moving.clear and abs(moving.sigmas) > APART_SIGMAS:
        return "drifting", "warn"
    rhat = state.value("estimate", "rhat")
    if rhat is not None and rhat > RHAT_BAD:
        mine = trace.moments(0, trace.last + 1)
        means = [other.moments(0, other.last + 1).mean for number, other in state.traces.items() if number not in state.failures]
        error = math.sqrt(mine.variance / max(2.0, share or mine.count / 10))
        if abs(mine.mean - statistics.median(means)) > APART_SIGMAS * error:
            return "apart", "warn"
    return ("done" if chain.draws_total and chain.draws >= chain.draws_total else "steady"), "good"
