"""What an interventions run says in Markdown, and its strength curves."""

from __future__ import annotations

import math

from ...features.effects import Effect, Interval
from ...markdown import code, words
from ...numbers import short
from ...payload import given
from ...results.interventions import ChangeResult, ControlEffects, EffectLine, LossChange
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


def effect_line(
    measured: Effect, strength: float, verb: str, q: float | None, loss: LossChange | None, *, clear: bool | None = None
) -> EffectLine:
    """An effect as result.json and the view have it. Controls have the interval in which 95 % of changes of their kind lie.

    clear: whether it stands out, where more is known of that than the effect itself says.
    """
    test, pooled = measured.test, None if measured.control is None else _among(measured.control)
    return EffectLine(
        feature_id=measured.feature_id,
        verb=verb,
        strength=strength,
        effect=measured.directed.mean,
        low=measured.directed.low,
        high=measured.directed.high,
        rows=measured.directed.count,
        p=measured.p,
        q=q,
        units=test.units if test else None,
        control_spread=test.spread if test else None,
        control_count=test.count if test else 0,
        side_effect=measured.side,
        controls={kind: _among(controls) for kind, controls in measured.controls.items()},
        control=None if pooled is None else pooled.mean,
        control_low=None if pooled is None else pooled.low,
        control_high=None if pooled is None else pooled.high,
        specificity=measured.specificity,
        strong=measured.strong,
        clear=measured.clear if clear is None else clear,
        **({} if loss is None else given(loss)),
    )


def _among(controls: Interval) -> ControlEffects:
    """mean ± t·s·√(1 + 1/K): where a further control lies with 95 %, from the interval of their mean, mean ± t·s/√K."""
    if controls.low is None or controls.high is None:
        return ControlEffects(mean=controls.mean, low=None, high=None, count=controls.count)
    half = (controls.high - controls.low) / 2 * math.sqrt(controls.count + 1)
    return ControlEffects(mean=controls.mean, low=controls.mean - half, high=controls.mean + half, count=controls.count)


def markdown(name: str, values: ChangeResult) -> str:
    """The table of effects, and how to read it."""
    lines = [
        f"# interventions · {name}",
        "",
        f"`{values.verb}` at the last token of {values.positives} prompts that meet “{words(values.criterion)}”, and of "
        f"{values.negatives} that do not, on `{code(values.model)}`. Effects are in {_unit(values.metric)}",
        "",
        "| feature | strength | effect (95 %) | × controls | q | side effect | Δ loss on plain text | controls (95 % of them) | strong | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for line in values.effects:
        controls = _interval(line.control, line.control_low, line.control_high)
        lines.append(
            f"| {words(line.feature_id)} | {line.strength:g} | {_interval(line.effect, line.low, line.high)} "
            f"| {short(line.units)} | {short(line.q)} | {short(line.side_effect)} "
            f"| {_interval(line.loss_change, line.loss_low, line.loss_high)} | {controls} "
            f"| {line.strong:.3f} | {'◆' if line.clear else ''} |"
        )
    lines += [
        "",
        "◆ the interval is clear of 0, and the effect stands out from the controls of every kind, corrected for the number of",
        "",
    ]
    lines[-2] += " features and strengths. × controls: its distance from their mean in their standard deviations, of the kind it stands out"
    lines[-2] += " from least. A control counts once, as its mean over the prompts; q is of its rank among them."
    if values.at_edge:
        lines += [f"{values.at_edge[0].upper()}{values.at_edge[1:]}.", ""]
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
