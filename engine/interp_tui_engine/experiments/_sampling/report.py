"""What a finished sampling run leaves: result.json's numbers, a report that says whether to trust them, a figure. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ... import atomic
from ...catalog import Result
from ...estimators.llc import compute_llc
from ...figures.lines import Curve, Level, lines_svg
from ...numbers import short
from ...samplers.chains.store import digests, open_samples
from ...uncertainty import plus_minus
from .llc_verdict import uncertainties, verdict_on
from .run import STORE, Sampled


def result(done: Sampled, *, with_llc: bool) -> Result:
    """What a finished sampling run says: result.json's numbers, a report with its figure, and a digest of each array."""
    folder = done.context.folder
    samples = open_samples(folder.path / STORE)
    estimate = compute_llc(samples)
    failed = {c.chain: {"step": c.failed_step, "cause": c.failed_reason} for c in done.chains.snapshot.chains if not c.healthy}
    trace = estimate["loss_trace"].values
    healthy = [int(c) for c in estimate.attrs["healthy_chains"]]
    values: dict[str, Any] = {
        "init_loss": float(estimate["init_loss"]),
        "loss_mean": float(trace[healthy, done.config.num_burnin_steps :].mean()),
        "healthy_chains": healthy,
        "failed_chains": {str(chain): why for chain, why in failed.items()},
        "tokens_per_second": done.tokens_per_second,
        "rhat": float(estimate["rhat"]),
        "ess": float(estimate["ess"]),
        "seconds": done.seconds,
        "executor": done.chains.executor.record(),
    }
    verdict = verdict_on(estimate, samples.dataset, done.config, done.control, done.model.vocab_size)
    if verdict.shown.acceptance is not None:
        values |= {"acceptance": verdict.shown.acceptance, "acceptance_std_error": verdict.shown.acceptance_error}
    if with_llc:
        per_chain = estimate["llc_per_chain"].values.tolist()
        values |= {"verdict": verdict.text, "usable": verdict.usable, "reasons": list(verdict.reasons), "control_rise": verdict.control}
        values = {
            "llc_mean": float(estimate["llc_mean"]),
            "llc_std": float(estimate["llc_std"]),
            "llc_std_error": float(estimate["llc_std_error"]),
            "llc_per_chain": per_chain,
            "baseline": estimate.attrs["baseline"],
        } | values
    _write_figure(done, trace, values["init_loss"])
    shown = {
        key: values[key] for key in ("llc_mean", "llc_std_error", "loss_mean", "rhat", "ess") if math.isfinite(values.get(key, math.nan))
    }
    bars = uncertainties(estimate, done.config, verdict)
    kept = {name: bar for name, bar in bars.items() if name in values}
    return Result(values, shown, _report(done, values), digests(folder.path / STORE), kept)


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


def _report(done: Sampled, values: Mapping[str, Any]) -> str:
    """Markdown for report.md; figures are linked relative to the run folder."""
    manifest, config = done.manifest, done.config
    model = manifest.model
    assert model is not None
    lines = [f"# {manifest.kind} · {manifest.name}", ""]
    if "llc_mean" in values:
        lines += [f"**λ̂ = {plus_minus(values['llc_mean'], values['llc_std_error'])}** (Monte-Carlo standard error)", ""]
        lines += [f"**{values['verdict'][0].upper()}{values['verdict'][1:]}**", "", *(f"- {why}" for why in values["reasons"]), ""]
    lines += [
        f"Model `{model.source}`{f' at `{model.revision}`' if model.revision else ''}, sampled on "
        f"`{manifest.data[manifest.params.sampling_data].source}` "
        f"({config.rows_per_step} × {manifest.data[manifest.params.sampling_data].context} tokens a step).",
        "",
        "| | |",
        "|---|---:|",
        f"| loss at w₀ | {short(values['init_loss'], 4)} nats a token |",
        f"| mean loss of the samples | {short(values['loss_mean'], 4)} nats a token |",
        f"| split R̂ | {short(values['rhat'], 4)} |",
        f"| bulk ESS | {short(values['ess'], 4)} draws of {len(values['healthy_chains']) * config.num_draws} |",
        f"| chains | {len(values['healthy_chains'])} healthy, {len(values['failed_chains'])} failed |",
        f"| steps a chain | {config.num_sgld_steps} ({config.num_burnin_steps} burn-in) |",
        f"| speed | {values['tokens_per_second']:,.0f} tokens/s |",
        "",
    ]
    if "acceptance" in values:
        error = values["acceptance_std_error"]
        lines.insert(-1, f"| MALA acceptance | {short(values['acceptance'], 4)}{'' if error is None else f' ± {short(error)}'} |")
    if values.get("control_rise") is not None:
        rise = values["control_rise"]
        lines.insert(-1, f"| rise of the loss with noise and localization alone | {short(rise, 4)} nats a token |")
    if "llc_per_chain" in values:
        lines += ["| chain | λ̂ |", "|---:|---:|"]
        lines += [f"| {chain} | {short(value, 4)} |" for chain, value in enumerate(values["llc_per_chain"])]
        lines.append("")
    for chain, why in values["failed_chains"].items():
        lines.append(f"- chain {chain} failed at step {why['step']}: {why['cause']}; it is left out of every estimate")
    lines += [*_remarks(done, values), "", "![loss along the chains](figures/loss.svg)", ""]
    lines += ["Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]
    return "\n".join(lines)


def _remarks(done: Sampled, values: Mapping[str, Any]) -> list[str]:
    """What a reader should doubt: R̂ past 1.1 is unmixed by any standard (Vehtari et al. 2021 ask for 1.01)."""
    remarks = []
    rhat = values["rhat"]
    if "verdict" not in values and math.isfinite(rhat) and rhat > 1.1:
        remarks.append(f"- R̂ = {rhat:.2f}: the chains do not agree yet; take more burn-in or more draws, or a smaller lr")
    if values.get("baseline") == "init":
        remarks.append("- L(w₀) is that of the first batches (baseline = 'init'): what they differ by from those seen is in λ̂, times nβ")
    if done.config.localization == 0 and done.config.bounding_box_size is None:
        remarks.append("- no localization: chains are free to leave the neighbourhood of w₀")
    return remarks
