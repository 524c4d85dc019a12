"""An interventions run: features and controls to trials, trials to rows, rows to effects. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch

from ... import atomic
from ...catalog import Result
from ...digests import of_bytes
from ...errors import UserError
from ...events import Artifact, Event, Metrics, Phase, Warned
from ...features import effects, ids, interventions, layer_convention
from ...features.control_test import FEWEST
from ...features.layer_convention import Convention, convention_of, in_blocks
from ...features.prompts import without_repeats
from ...features.ranking import false_discovery
from ...payload import LEFT_OUT
from ...results.interventions import EffectLine, InterventionsHeadline, InterventionsResult
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Steps
from ...uncertainty import Uncertainty
from .. import _features
from .._features.changed_model import bench_of
from .._features.evidence_files import file_of
from .._features.plain_text import plain_text
from .._features.space import spaces_of
from .changes import Changes, PlannedChange, trials_of
from .params import PLAIN_CONTROLS, Params, draws_of, everywhere
from .report import IN_CONTROLS, effect_line, markdown
from .rows import InterventionRows

ROWS = "interventions.jsonl"


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError for features or prompts that do not fit the model."""
    params: Params = context.manifest.params
    model, site_map = yield from open_model(context.manifest)
    targets, convention = _targets(params)
    layers = sorted({_layer(name) for name in targets})
    remarks = layer_convention.remark(convention, site_map.num_layers - 1, layers)
    at_all = everywhere(params, convention)
    if at_all and params.positions == "auto":
        remarks.append("features are ablated at every token, as interp-lab does (params.positions)")
    spaces = spaces_of(params, layers, site_map, model.device)
    prompts, repeats = without_repeats(_features.prompts_of(params.prompts))
    positives = [p for p in prompts if p.score > 0.5][: params.most_prompts]
    negatives = [p for p in prompts if p.score <= 0.5]
    negatives = negatives[:: max(1, len(negatives) // params.most_prompts)][: params.most_prompts]  # spread over the file: it may be sorted
    if len(positives) < 2 or not negatives:
        raise UserError(f"{len(positives)} positive and {len(negatives)} negative prompts", "two positives and one negative are the least")
    bench, warnings = bench_of(model, site_map, positives + negatives, params.metric, params.answers, params.batch_size)
    yield run_started(context, model)
    draws, tests = draws_of(params, len(targets)), len(targets) * len(params.strengths)
    tested = bool(set(params.controls) - set(effects.UNCHANGED))
    for warning in [*remarks, *repeats, *warnings, *(few_controls(draws, tests, params.alpha) if tested else ())]:
        yield Warned(warning)
    yield Phase("reading features", f"{len(prompts)} prompts")
    bench = bench.ready()
    clean = [bench.clean(space.layer) for space in spaces]
    values = [space.read(x_PD) for space, x_PD in zip(spaces, clean, strict=True)]
    changes = [
        Changes(params, space, x_PD, values_PF, len(positives), context.manifest.seed)
        for space, x_PD, values_PF in zip(spaces, clean, values, strict=True)
    ]
    trials = trials_of(params, targets, spaces, values, context.manifest.seed)
    count = sum(len(trial.changed) for trial in trials)
    yield Phase("intervening", f"{len(targets)} features, {count} changes, {len(positives)} positives and {len(negatives)} negatives")
    everyone = range(len(bench.prompts))
    base = bench.scores_of(spaces[0].layer, torch.zeros_like(clean[0])[None], everyone)[0].cpu().numpy()
    text = plain_text(params.plain_text, params.plain_rows, model, site_map) if params.plain_rows else None
    plain_base = text.losses(spaces[0].layer, None) if text is not None else np.zeros(0, np.float32)

    def scores_under(trial: PlannedChange, layer: int, made: Changes) -> torch.Tensor:
        if not at_all:
            return bench.scores_of(layer, made.on_prompts(trial), everyone)
        return torch.stack([bench.scores(layer, made.on_text(trial, draw), everyone) for draw in range(len(trial.changed))])

    table = InterventionRows(params, params.model_name or model.source, spaces, bench, len(positives), base, plain_base, convention)

    def do(trial: PlannedChange) -> Any:
        layer, made = spaces[trial.space].layer, changes[trial.space]
        scores = scores_under(trial, layer, made).flatten().cpu().numpy()
        if text is None:
            return scores
        losses = [text.losses(layer, made.on_text(trial, draw)) for draw in range(min(PLAIN_CONTROLS, len(trial.changed)))]
        return np.concatenate([scores, *losses])

    def say(index: int, trial: PlannedChange, numbers: Any) -> list[Event]:
        table.add(trial, numbers)
        # told again as its controls come in: the newest line of a place is the one that counts
        place = sum(other.control is None for other in trials[: index + 1]) - 1
        return [Metrics("case", place, table.summary(trial).as_json())]

    done = yield from Steps(context, trials, unit="changes", size=lambda trial: len(trial.changed)).run(do, say)
    interventions.write(context.folder.path / ROWS, table.rows)
    yield Artifact(ROWS, "intervention rows")
    result = _result(context, params, table, trials, np.concatenate([base, plain_base, *done]))
    for place, line in enumerate(result.values["effects"]):
        yield Metrics("case", place, line)
    if (edge := result.values["at_edge"]) is not None:
        yield Warned(edge)
    return result


def few_controls(draws: int, tests: int, alpha: float) -> list[str]:
    """What to say of so few controls of a kind that their ranks tell nothing, or not enough for so many tests."""
    if draws < FEWEST:
        return [
            f"draws = {draws}: fewer than {FEWEST} controls of a kind are compared by Student's t, which takes their effects for normally "
            "distributed; one control tells nothing"
        ]
    if tests > alpha * (draws + 1):
        least = math.ceil(tests / alpha) - 1
        return [
            f"{draws} controls give no p below {1 / (draws + 1):.2g}: of {tests} tests one alone cannot be clear; draws = {least} could"
        ]
    return []


def _targets(params: Params) -> tuple[list[str], Convention]:
    """The features' ids with layers counted as here, and how they were counted where they come from."""
    stated = None if params.layer_convention == "auto" else params.layer_convention
    if params.report is None:
        convention = stated or "block"
        return [in_blocks(name, convention) for name in dict.fromkeys(params.targets)], convention
    report = atomic.read_json(file_of(params.report, "report"))
    cards = report.get("cards") if isinstance(report, dict) else None
    cards = [card for card in cards or () if isinstance(card, dict) and isinstance(card.get("feature_id"), str)]
    if not cards:
        raise UserError(f"{params.report} holds no cards", "give an inspect run that is done, or its report.json")
    first = {card["feature_id"]: card for card in reversed(cards[: params.top])}
    convention = stated or convention_of(first.values())
    return [in_blocks(name, convention) for name in dict.fromkeys(card["feature_id"] for card in cards)][: params.top], convention


def _layer(name: str) -> int:
    parsed = ids.parse(name)
    if parsed is None:
        raise UserError(f"{name!r:.60} is no feature that can be changed", ids.FORMS)
    return parsed.layer


def _result(context: Context, params: Params, table: InterventionRows, trials: Sequence[PlannedChange], numbers: Any) -> Result:
    own = [trial for trial in trials if trial.control is None]
    measured = [table.effect(table.name(trial), trial.strength) for trial in own]
    qs = false_discovery(np.array([1.0 if effect.p is None else effect.p for effect in measured])).tolist()
    lines = [
        effect_line(
            effect,
            trial.strength,
            params.verb,
            q,
            table.cost(effect.feature_id, trial.strength),
            clear=bool(effect.directed.clear_of(0.0) and effect.beyond and q <= params.alpha),
        )
        for effect, trial, q in zip(measured, own, qs, strict=True)
    ]
    at = max(range(len(lines)), key=lambda line: (lines[line].clear, measured[line].strong))
    best, strength = lines[at], own[at].strength
    # it was chosen among all of them on the prompts it is measured on: an interval that holds for all at once holds for it
    rows = [row.effect for row in table.by_trial[best.feature_id, strength] if row.control is None]
    interval = effects.interval(rows, 1 - 0.05 / len(lines))
    read_text = table.cost(best.feature_id, strength) is not None
    values = InterventionsResult(
        model=table.model,
        criterion=params.criterion,
        verb=params.verb,
        metric=params.metric,
        rows=len(table.rows),
        positives=table.positives,
        negatives=len(table.bench.prompts) - table.positives,
        baseline=float(table.base.mean()),
        effects=tuple(lines),
        chosen=best.feature_id,
        chosen_strength=strength,
        effect=best.effect,
        effect_low=interval.low,
        effect_high=interval.high,
        effect_in_controls=best.units,
        side_effect=best.side_effect,
        path=ROWS,
        at_edge=at_edge(strength, params.strengths),
        loss_change=best.loss_change if read_text else LEFT_OUT,
        loss_low=best.loss_low if read_text else LEFT_OUT,
        loss_high=best.loss_high if read_text else LEFT_OUT,
    )
    headline = InterventionsHeadline(
        top=best.feature_id,
        effect=LEFT_OUT if best.effect is None else best.effect,
        in_controls=LEFT_OUT if best.units is None else best.units,
        clear=sum(bool(line.clear) for line in lines),
    )
    report = markdown(context.manifest.name, values).replace("# interventions", f"# {context.manifest.kind}", 1)
    digest = of_bytes(np.asarray(numbers, np.float32))
    return Result(values.as_json(), headline.as_json(), report, {"scores": digest}, _uncertainty(values, best, len(lines)))


def at_edge(strength: float, strengths: Sequence[float]) -> str | None:
    """What to say of a strength that was chosen where the grid ends; None inside it, or without a grid."""
    if len(strengths) < 2 or strength not in (min(strengths), max(strengths)):
        return None
    side = "largest" if strength == max(strengths) else "smallest"
    return f"the strength {strength:g} is the {side} of those tried: the best may lie beyond; give params.strengths that reach further"


def _uncertainty(values: InterventionsResult, best: EffectLine, tests: int) -> dict[str, Uncertainty]:
    bars = {
        "effect": Uncertainty(
            over=f"{values.positives} prompts",
            low=values.effect_low,
            high=values.effect_high,
            control=best.control,
            clear=best.clear,
            note=f"the strongest of {tests}: the interval holds for all of them at once" if tests > 1 else "",
        )
    }
    if best.units is not None:
        bars["in_controls"] = IN_CONTROLS
    if best.loss_change is not None:
        bars["loss_change"] = Uncertainty("rows of plain text", low=best.loss_low, high=best.loss_high, control=best.loss_control)
    return bars
