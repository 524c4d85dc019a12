"""What an interventions run says in Markdown, and its strength curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...markdown import code, words

UNITS = {
    "logit_diff": "nats of log-odds against the wrong answers",
    "log_odds": "nats of log-odds against all else",
    "logprob": "nats",
    "prob": "probability",
    "sequence": "nats of the log-probability of the whole",
}


def markdown(name: str, values: Mapping[str, Any]) -> str:
    """The table of effects, and how to read it."""
    lines = [
        f"# interventions · {name}",
        "",
        f"`{values['verb']}` at the last token of {values['positives']} prompts that meet “{words(values['criterion'])}”, and of "
        f"{values['negatives']} that do not, on `{code(values['model'])}`. Effects are in {_unit(values['metric'])}",
        "",
        "| feature | strength | effect (95 %) | q | side effect | Δ loss on plain text | controls (95 %) | strong | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for line in values["effects"]:
        controls = _interval(line["control"], line["control_low"], line["control_high"])
        lines.append(
            f"| {words(line['feature_id'])} | {line['strength']:g} | {_interval(line['effect'], line['low'], line['high'])} "
            f"| {_number(line['q'])} | {_number(line['side_effect'])} "
            f"| {_interval(line.get('loss_change'), line.get('loss_low'), line.get('loss_high'))} | {controls} "
            f"| {line['strong']:.3f} | {'◆' if line['clear'] else ''} |"
        )
    lines += ["", "◆ the interval is clear of 0 and of the controls, after correction for the number of features and strengths.", ""]
    lines += ["The rows are in `interventions.jsonl`: `inspect` takes this folder as `interventions`.", ""]
    return "\n".join(lines)


def _unit(metric: str) -> str:
    if metric == "kl":
        return (
            "nats of KL divergence of the next token's distribution from the unchanged one: never below 0, so hold them against controls."
        )
    return f"{UNITS[metric]} of the right answer, positive where the feature promotes it."


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
