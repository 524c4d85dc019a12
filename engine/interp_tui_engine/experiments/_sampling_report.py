"""The report of a sampling run, in Markdown: the numbers with their errors, whether to trust them, and how to make them again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._sampling_run import Sampled


def report_of(done: Sampled, values: Mapping[str, Any]) -> str:
    """Markdown for report.md; figures are linked relative to the run folder."""
    manifest, config = done.manifest, done.config
    model = manifest.model
    assert model is not None
    lines = [f"# {manifest.kind} · {manifest.name}", ""]
    if "llc_mean" in values:
        lines += [f"**λ̂ = {_number(values['llc_mean'])} ± {_number(values['llc_std_error'])}** (Monte-Carlo standard error)", ""]
    lines += [
        f"Model `{model.source}`{f' at `{model.revision}`' if model.revision else ''}, sampled on "
        f"`{manifest.data[manifest.params.sampling_data].source}` "
        f"({config.rows_per_step} × {manifest.data[manifest.params.sampling_data].context} tokens a step).",
        "",
        "| | |",
        "|---|---:|",
        f"| loss at w₀ | {_number(values['init_loss'])} nats a token |",
        f"| mean loss of the samples | {_number(values['loss_mean'])} nats a token |",
        f"| split R̂ | {_number(values['rhat'])} |",
        f"| bulk ESS | {_number(values['ess'])} draws of {len(values['healthy_chains']) * config.num_draws} |",
        f"| chains | {len(values['healthy_chains'])} healthy, {len(values['failed_chains'])} failed |",
        f"| steps a chain | {config.num_sgld_steps} ({config.num_burnin_steps} burn-in) |",
        f"| speed | {values['tokens_per_second']:,.0f} tokens/s |",
        "",
    ]
    if "llc_per_chain" in values:
        lines += ["| chain | λ̂ |", "|---:|---:|"]
        lines += [f"| {chain} | {_number(value)} |" for chain, value in enumerate(values["llc_per_chain"])]
        lines.append("")
    for chain, why in values["failed_chains"].items():
        lines.append(f"- chain {chain} failed at step {why['step']}: {why['cause']}; it is left out of every estimate")
    lines += [*_remarks(done, values), "", "![loss along the chains](figures/loss.svg)", ""]
    lines += ["Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]
    return "\n".join(lines)


def _remarks(done: Sampled, values: Mapping[str, Any]) -> list[str]:
    """What a reader should doubt: R̂ past 1.1 is unmixed by any standard (Vehtari et al. 2021 ask for 1.01); at a minimum λ ≥ 0."""
    remarks = []
    rhat = values["rhat"]
    if math.isfinite(rhat) and rhat > 1.1:
        remarks.append(f"- R̂ = {rhat:.2f}: the chains do not agree yet; take more burn-in or more draws, or a smaller lr")
    if values.get("llc_mean", 1.0) < 0:
        remarks.append("- λ̂ is negative: w₀ is no minimum of this loss (is the model trained on such data?), or lr is too large")
    if done.config.localization == 0 and done.config.bounding_box_size is None:
        remarks.append("- no localization: chains are free to leave the neighbourhood of w₀")
    return remarks


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"
