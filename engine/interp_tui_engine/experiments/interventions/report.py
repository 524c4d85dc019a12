"""What an interventions run says in Markdown, and its strength curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...features.effects import Effect, Interval
from ...markdown import code, words
from ...numbers import short
from ...uncertainty import none_known

IN_CONTROLS = none_known("counted in spreads of its controls, which are its error")
"""Of the headline number `in_controls`."""

UNITS = {
    "logit_diff": "nats of log-odds against the wrong answers",
    "log_odds": "nats of log-odds against all else",
    "logprob": "nats",
    "prob": "probability",
    "sequence": "nats of the log-probability of the whole",
}


def effect_line(found: Effect, strength: float, verb: str, q: float | None) -> dict[str, Any]:
    """An effect as result.json and the view have it. Controls have the interval in which 95 % of changes of their kind lie."""
    by_kind = {kind: _among(controls) for kind, controls in found.controls.items()}
    pooled = _among(found.control) if found.control is not None else {"mean": None, "low": None, "high": None}
    return {
        **{"feature_id": found.feature_id, "verb": verb, "strength": strength, "effect": found.directed.mean},
        **{"low": found.directed.low, "high": found.directed.high, "rows": found.directed.count, "p": found.p, "q": q},
        **{"units": found.test.units if found.test else None, "control_spread": found.test.spread if found.test else None},
        **{"control_count": found.test.count if found.test else 0, "side_effect": found.side, "controls": by_kind},
        **{"control": pooled["mean"], "control_low": pooled["low"], "control_high": pooled["high"]},
        **{"specificity": found.specificity, "strong": found.strong, "clear": found.clear},
    }


def _among(controls: Interval) -> dict[str, Any]:
    """mean ± t·s·√(1 + 1/K): where a further control lies with 95 %, from the interval of their mean, mean ± t·s/√K."""
    if controls.low is None or controls.high is None:
        return {"mean": controls.mean, "low": None, "high": None, "count": controls.count}
    half = (controls.high - controls.low) / 2 * math.sqrt(controls.count + 1)
    return {"mean": controls.mean, "low": controls.mean - half, "high": controls.mean + half, "count": controls.count}


def markdown(name: str, values: Mapping[str, Any]) -> str:
    """The table of effects, and how to read it."""
    lines = [
        f"# interventions · {name}",
        "",
        f"`{values['verb']}` at the last token of {values['positives']} prompts that meet “{words(values['criterion'])}”, and of "
        f"{values['negatives']} that do not, on `{code(values['model'])}`. Effects are in {_unit(values['metric'])}",
        "",
        "| feature | strength | effect (95 %) | × controls | q | side effect | Δ loss on plain text | controls (95 % of them) | strong | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for line in values["effects"]:
        controls = _interval(line["control"], line["control_low"], line["control_high"])
        lines.append(
            f"| {words(line['feature_id'])} | {line['strength']:g} | {_interval(line['effect'], line['low'], line['high'])} "
            f"| {short(line['units'])} | {short(line['q'])} | {short(line['side_effect'])} "
            f"| {_interval(line.get('loss_change'), line.get('loss_low'), line.get('loss_high'))} | {controls} "
            f"| {line['strong']:.3f} | {'◆' if line['clear'] else ''} |"
        )
    lines += [
        "",
        "◆ the interval is clear of 0, and the effect stands out from the controls of every kind, corrected for the number of",
        "",
    ]
    lines[-2] += " features and strengths. × controls: its distance from their mean in their standard deviations, of the kind it stands out"
    lines[-2] += " from least. A control counts once, as its mean over the prompts; q is of its rank among them."
    if values.get("at_edge"):
        lines += [f"{values['at_edge'][0].upper()}{values['at_edge'][1:]}.", ""]
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
