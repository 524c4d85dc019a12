"""What a finished sampling run leaves: result.json's numbers, a report that says whether to trust them, a figure. Imports torch."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from ... import atomic
from ...catalog import Result
from ...estimators.llc import compute_llc
from ...figures.lines import Curve, Level, lines_svg
from ...numbers import short
from ...payload import LEFT_OUT, given
from ...results.sampling import FailedChain, LLCResult, SampleResult, SamplingHeadline
from ...samplers.chains.store import digests, open_samples
from ...uncertainty import plus_minus
from .llc_verdict import uncertainties, verdict_on
from .run import STORE, Sampled


def result(done: Sampled, *, with_llc: bool) -> Result:
    """What a finished sampling run says: result.json's numbers, a report with its figure, and a digest of each array."""
    folder = done.context.folder
    samples = open_samples(folder.path / STORE)
    estimate = compute_llc(samples)
    trace = estimate["loss_trace"].values
    healthy = [int(c) for c in estimate.attrs["healthy_chains"]]
    verdict = verdict_on(estimate, samples.dataset, done.config, done.control, done.model.vocab_size)
    accepted = verdict.shown.acceptance is not None
    init_loss, failed = float(estimate["init_loss"]), [c for c in done.chains.snapshot.chains if not c.healthy]
    values = SampleResult(
        init_loss=init_loss,
        loss_mean=float(trace[healthy, done.config.num_burnin_steps :].mean()),
        healthy_chains=tuple(healthy),
        failed_chains={str(c.chain): FailedChain(step=c.failed_step, cause=c.failed_reason or "") for c in failed},
        tokens_per_second=done.tokens_per_second,
        rhat=float(estimate["rhat"]),
        ess=float(estimate["ess"]),
        seconds=done.seconds,
        executor=done.chains.executor.record(),
        acceptance=verdict.shown.acceptance if accepted else LEFT_OUT,
        acceptance_std_error=verdict.shown.acceptance_error if accepted else LEFT_OUT,
    )
    if with_llc:
        values = LLCResult(
            llc_mean=float(estimate["llc_mean"]),
            llc_std=float(estimate["llc_std"]),
            llc_std_error=float(estimate["llc_std_error"]),
            llc_per_chain=tuple(estimate["llc_per_chain"].values.tolist()),
            baseline=estimate.attrs["baseline"],
            **given(values),
            verdict=verdict.text,
            usable=verdict.usable,
            reasons=tuple(verdict.reasons),
            control_rise=verdict.control,
        )
    _write_figure(done, trace, init_loss)
    written = values.as_json()
    kept = {name: bar for name, bar in uncertainties(estimate, done.config, verdict).items() if name in written}
    return Result(written, _headline(values).as_json(), _report(done, values), digests(folder.path / STORE), kept)


def _headline(values: SampleResult) -> SamplingHeadline:
    """The numbers of it that are finite."""

    def if_finite(value: float | None) -> float:
        return LEFT_OUT if value is None or not math.isfinite(value) else value

    llc = values if isinstance(values, LLCResult) else None
    return SamplingHeadline(
        llc_mean=if_finite(llc.llc_mean if llc else None),
        llc_std_error=if_finite(llc.llc_std_error if llc else None),
        loss_mean=if_finite(values.loss_mean),
        rhat=if_finite(values.rhat),
        ess=if_finite(values.ess),
    )


def _write_figure(done: Sampled, trace: Any, init_loss: float) -> None:
    """The loss of each chain over its steps, as bucket means: a figure is some 600 points wide."""
    steps = trace.shape[1]
    edges = np.unique(np.linspace(0, steps, min(steps, 600) + 1).astype(int))
    middles = ((edges[:-1] + edges[1:] - 1) / 2).tolist()
    curves = [
        Curve(f"chain {chain}", middles, [float(row[a:b].mean()) for a, b in pairwise(edges)])
        for chain, row in enumerate(trace)
        if np.isfinite(row).all()
    ]
    figures = done.context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    svg = lines_svg(
        f"Loss along {len(curves)} chains: {done.manifest.name}", "step", "loss, nats a token", curves, [Level("L(w₀)", init_loss)]
    )
    atomic.write_text(figures / "loss.svg", svg)


def _report(done: Sampled, values: SampleResult) -> str:
    """Markdown for report.md; figures are linked relative to the run folder."""
    manifest, config = done.manifest, done.config
    model = manifest.model
    assert model is not None
    lines = [f"# {manifest.kind} · {manifest.name}", ""]
    llc = values if isinstance(values, LLCResult) else None
    if llc is not None:
        mean, error = (math.nan if number is None else number for number in (llc.llc_mean, llc.llc_std_error))
        lines += [f"**λ̂ = {plus_minus(mean, error)}** (Monte-Carlo standard error)", ""]
        lines += [f"**{llc.verdict[0].upper()}{llc.verdict[1:]}**", "", *(f"- {why}" for why in llc.reasons), ""]
    lines += [
        f"Model `{model.source}`{f' at `{model.revision}`' if model.revision else ''}, sampled on "
        f"`{manifest.data[manifest.params.sampling_data].source}` "
        f"({config.rows_per_step} × {manifest.data[manifest.params.sampling_data].context} tokens a step).",
        "",
        "| | |",
        "|---|---:|",
        f"| loss at w₀ | {short(values.init_loss, 4)} nats a token |",
        f"| mean loss of the samples | {short(values.loss_mean, 4)} nats a token |",
        f"| split R̂ | {short(values.rhat, 4)} |",
        f"| bulk ESS | {short(values.ess, 4)} draws of {len(values.healthy_chains) * config.num_draws} |",
        f"| chains | {len(values.healthy_chains)} healthy, {len(values.failed_chains)} failed |",
        f"| steps a chain | {config.num_sgld_steps} ({config.num_burnin_steps} burn-in) |",
        f"| speed | {values.tokens_per_second:,.0f} tokens/s |",
        "",
    ]
    if values.acceptance is not None:
        spread = "" if values.acceptance_std_error is None else f" ± {short(values.acceptance_std_error)}"
        lines.insert(-1, f"| MALA acceptance | {short(values.acceptance, 4)}{spread} |")
    if llc is not None and llc.control_rise is not None:
        lines.insert(-1, f"| rise of the loss with noise and localization alone | {short(llc.control_rise, 4)} nats a token |")
    if llc is not None:
        lines += ["| chain | λ̂ |", "|---:|---:|"]
        lines += [f"| {chain} | {short(value, 4)} |" for chain, value in enumerate(llc.llc_per_chain)]
        lines.append("")
    for chain, why in values.failed_chains.items():
        lines.append(f"- chain {chain} failed at step {why.step}: {why.cause}; it is left out of every estimate")
    lines += [*_remarks(done, values), "", "![loss along the chains](figures/loss.svg)", ""]
    lines += ["Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]
    return "\n".join(lines)


def _remarks(done: Sampled, values: SampleResult) -> list[str]:
    """What a reader should doubt: R̂ past 1.1 is unmixed by any standard (Vehtari et al. 2021 ask for 1.01)."""
    remarks = []
    llc, rhat = values if isinstance(values, LLCResult) else None, values.rhat or math.nan
    if llc is None and math.isfinite(rhat) and rhat > 1.1:
        remarks.append(f"- R̂ = {rhat:.2f}: the chains do not agree yet; take more burn-in or more draws, or a smaller lr")
    if llc is not None and llc.baseline == "init":
        remarks.append("- L(w₀) is that of the first batches (baseline = 'init'): what they differ by from those seen is in λ̂, times nβ")
    if done.config.localization == 0 and done.config.bounding_box_size is None:
        remarks.append("- no localization: chains are free to leave the neighbourhood of w₀")
    return remarks
