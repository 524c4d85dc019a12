"""A contrast run: three parts of the prompts, one direction, one strength. Imports torch.

direction = unit(mean of positives − mean of negatives) of the residual stream at the last token, on the first part
strength  = argmax over strengths of (mean Δ where it is wanted − mean |Δ| elsewhere), on the second part
effect    = with Student-t interval, on the third

It is wanted on positives, whose own answers should become likelier; with shared answers on negatives, which should end as positives do.

The effect is held against two kinds of control, each of `draws` directions: random ones of the same length and strength, on the same
prompts; and what the whole of it (parts, answers, direction, strength, effect) makes of shuffled labels.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ... import atomic
from ...catalog import Result
from ...digests import of_bytes
from ...errors import UserError
from ...events import Artifact, Event, Metrics, Phase, Warned
from ...features import effects, ids, interventions
from ...features.interventions import Intervention
from ...features.prompts import Prompt, without_repeats
from ...payload import LEFT_OUT
from ...results.contrast import ContrastHeadline, ContrastResult
from ...results.interventions import EffectLine, LossChange
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Steps
from ...sites.site import Site
from ...uncertainty import Uncertainty
from .. import _features
from .._features.plain_text import PlainText, plain_text
from ..interventions.compute import at_edge, few_controls
from ..interventions.params import PLAIN_CONTROLS
from ..interventions.report import IN_CONTROLS, effect_line, markdown
from .labels import LabelEffect, Labelled, bench_under, gain, shuffled, split
from .params import Params

ROWS, DIRECTION = "interventions.jsonl", "direction.safetensors"
SURE = 0.9
"""Mean probability of their answers from which on there is nothing to bring about in positives."""
Step = tuple[str, int]


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError where a part would be empty."""
    params, seed = context.manifest.params, context.manifest.seed
    assert isinstance(params, Params)
    model, site_map = yield from open_model(context.manifest)
    site_map.check(Site("resid_post", params.layer))
    prompts, repeats = without_repeats(_features.prompts_of(params.prompts))
    positive = [prompt.score > 0.5 for prompt in prompts]
    parts = split(params, positive, seed)
    bench, warnings = bench_under(params, model, site_map, prompts, positive)
    yield run_started(context, model)
    for warning in [*repeats, *warnings, *few_controls(params.draws, 1, params.alpha)]:
        yield Warned(warning)
    yield Phase("fitting", f"{sum(map(len, parts.fit))} prompts")
    bench = bench.ready()
    clean_PD = bench.clean(params.layer).float()
    real = Labelled(params, bench, clean_PD, parts)
    distance = float(real.offset_D.norm())
    if not distance > 0:
        raise UserError("positives and negatives have the same mean activation", "give prompts that differ, or another layer")
    text = plain_text(params.plain_text, params.plain_rows, model, site_map) if params.plain_rows else None
    yield Phase("choosing a strength", f"{len(params.strengths)} on {sum(map(len, parts.choose))} prompts, and on {params.draws} shuffles")
    plan: list[Step] = [("real", 0), ("random", 0), ("plain", 0)]
    plan += [("shuffled", draw) for draw in range(params.draws)]
    table = ContrastRows(params, model.source, prompts, real)

    @lru_cache(1)  # a shuffle is measured, then read
    def under(draw: int) -> Labelled:
        labels = shuffled(positive, seed, draw)
        scored = bench_under(params, model, site_map, prompts, labels, beside=bench)[0] if params.shared_answers else bench
        return Labelled(params, scored, clean_PD, split(params, labels, seed))

    def do(step: Step) -> Any:
        what, draw = step
        if what == "real":
            return real.measure()
        if what == "shuffled":
            return under(draw).measure()
        size_D = table.strength * real.offset_D
        random_KD = torch.stack([_random(size_D, seed, index) for index in range(params.draws)])
        if what == "random":
            changes_KPD = random_KD[:, None].expand(-1, len(prompts), -1)
            return bench.scores_of(params.layer, changes_KPD, real.places("report")[0]).flatten().cpu().numpy()
        return _plain(text, params.layer, [size_D, *random_KD[:PLAIN_CONTROLS]])

    def say(index: int, step: Step, numbers: Any) -> list[Event]:
        what, draw = step
        if what == "real":
            table.take_real(real.read(numbers))
            cells = [Metrics("cells", place, point.as_json()) for place, point in enumerate(table.real.curve, 1)]
            return [*cells, Metrics("case", 0, table.line().as_json())]
        if what == "random":
            table.take_random(numbers.reshape(params.draws, -1))
        elif what == "plain":
            table.take_plain(numbers)
        else:
            table.take_shuffled(draw, under(draw).read(numbers))
        return [Metrics("case", 0, table.line().as_json())] if what != "shuffled" or draw == params.draws - 1 else []

    done = yield from Steps(context, plan, unit="directions", size=lambda step: 1).run(do, say)
    if doubt := _certain(params, table.real.certain):
        yield Warned(doubt)
    if (edge := at_edge(table.strength, params.strengths)) is not None:
        yield Warned(edge)
    interventions.write(context.folder.path / ROWS, table.rows)
    with atomic.replacing(context.folder.path / DIRECTION) as beside:
        save_file({table.name: (real.offset_D / distance).cpu()}, beside)
    yield Artifact(ROWS, "intervention rows")
    yield Artifact(DIRECTION, "the direction, of unit length")
    line = table.line()
    yield Metrics("case", 0, line.as_json())
    values = ContrastResult(
        model=model.source,
        criterion=params.criterion,
        verb="steer",
        metric=params.metric,
        rows=len(table.rows),
        positives=len(parts.report[0]),
        negatives=len(parts.report[1]),
        feature=table.name,
        distance=distance,
        curve=tuple(table.real.curve),
        chosen_strength=table.strength,
        at_edge=edge,
        effect=line.effect,
        effect_low=line.low,
        effect_high=line.high,
        effect_in_controls=line.units,
        p=line.p,
        side_effect=line.side_effect,
        effects=(line,),
        path=ROWS,
        direction=DIRECTION,
        loss_change=line.loss_change if table.plain else LEFT_OUT,
        loss_low=line.loss_low if table.plain else LEFT_OUT,
        loss_high=line.loss_high if table.plain else LEFT_OUT,
        wanted_on="negatives" if params.shared_answers else "positives",
        prompts={part: tuple(len(side) for side in getattr(parts, part)) for part in ("fit", "choose", "report")},
    )
    digest = {"scores": of_bytes(np.concatenate(done))}
    headline = ContrastHeadline(
        strength=table.strength,
        effect=LEFT_OUT if line.effect is None else line.effect,
        in_controls=LEFT_OUT if line.units is None else line.units,
        clear=LEFT_OUT if line.clear is None else line.clear,
    )
    return Result(values.as_json(), headline.as_json(), _report(context.manifest.name, values), digest, _uncertainty(values, line))


class ContrastRows:
    """Rows as they come, and what they add up to."""

    def __init__(self, params: Params, model: str, prompts: Sequence[Prompt], labelled: Labelled) -> None:
        self.params, self.model, self.prompts, self.labelled = params, model, prompts, labelled
        self.name = ids.direction(params.layer, params.criterion)
        self.rows: list[Intervention] = []
        self.plain: LossChange | None = None
        self.real: LabelEffect

    @property
    def strength(self) -> float:
        return self.real.strength

    def take_real(self, measured: LabelEffect) -> None:
        self.real = measured
        self._add(measured, measured.changed, {})

    def take_random(self, scores_KP: Any) -> None:
        for draw, scores_P in enumerate(scores_KP):
            self._add(self.real, scores_P, {"control_type": "matched_norm", "draw": draw})

    def take_shuffled(self, draw: int, measured: LabelEffect) -> None:
        self._add(measured, measured.changed, {"control_type": "shuffled_labels", "draw": draw, "strength": measured.strength})

    def take_plain(self, losses: Any) -> None:
        """Losses of rows of plain text: as they are, steered, and along random directions; nothing where no text was read."""
        if not len(losses):
            return
        losses_KR = losses.astype(np.float64).reshape(2 + min(PLAIN_CONTROLS, self.params.draws), -1)
        change_KR = losses_KR[1:] - losses_KR[0]
        own = effects.interval(change_KR[0].tolist())
        control = float(change_KR[1:].mean())
        self.plain = LossChange(loss_change=own.mean, loss_low=own.low, loss_high=own.high, loss_control=control)

    def line(self) -> EffectLine:
        """The effect as result.json and the view have it."""
        own, controls = [row for row in self.rows if row.control is None], [row for row in self.rows if row.control is not None]
        effect = effects.effect(self.name, own, controls)
        # the direction says which way the score should go
        clear = effect.clear and effect.directed.mean > 0 and (effect.p or 0.0) <= self.params.alpha
        return effect_line(effect, self.strength, "steer", effect.p, self.plain, clear=clear)

    def _add(self, measured: LabelEffect, scores: Any, metadata: Mapping[str, Any]) -> None:
        side = gain(measured.base, scores, len(measured.told_on))["side_effect"]
        for place, prompt in enumerate(measured.told_on):
            self.rows.append(
                Intervention(
                    model=self.model,
                    feature_id=self.name,
                    verb="steer",
                    baseline=float(measured.base[place]),
                    changed=float(scores[place]),
                    criterion=self.params.criterion,
                    prompt_id=self.prompts[prompt].id,
                    side_effect=side,
                    metadata={"strength": self.strength, "metric": self.params.metric, **metadata},
                )
            )


def _plain(text: PlainText | None, layer: int, directions: Sequence[Tensor]) -> Any:
    if text is None:
        return np.zeros(0, np.float32)
    changes = [lambda x, size_D=size_D: size_D.expand_as(x) for size_D in directions]
    return np.concatenate([text.losses(layer, change) for change in (None, *changes)])


def _certain(params: Params, base: np.ndarray[Any, Any]) -> str | None:
    """What to say where the answers that steering should bring about are certain without it."""
    if params.shared_answers or params.metric not in ("prob", "logprob", "log_odds"):
        return None
    odds = 1 / (1 + np.exp(-base.astype(np.float64)))
    sure = float(np.mean(base if params.metric == "prob" else np.exp(base) if params.metric == "logprob" else odds))
    if sure < SURE:
        return None
    return (
        f"positives give their answers without it (mean probability {sure:.2f}): steering has little to bring about there; "
        "shared_answers = true asks whether it makes other prompts end so"
    )


def _random(offset_D: Tensor, seed: int, draw: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, 0xC1, draw]).integers(2**62)))
    direction_D = torch.randn(offset_D.shape[0], generator=generator).to(offset_D.device)
    control_D: Tensor = direction_D / direction_D.norm() * offset_D.norm()
    return control_D


def _uncertainty(values: ContrastResult, line: EffectLine) -> dict[str, Uncertainty]:
    reported_on = values.negatives if values.wanted_on == "negatives" else values.positives
    over = f"{reported_on} prompts that neither direction nor strength was chosen on"
    bars = {"effect": Uncertainty(over, low=values.effect_low, high=values.effect_high, control=line.control, clear=line.clear)}
    if line.units is not None:
        bars["in_controls"] = IN_CONTROLS
    if line.loss_change is not None:
        bars["loss_change"] = Uncertainty("rows of plain text", low=line.loss_low, high=line.loss_high, control=line.loss_control)
    return bars


def _report(name: str, values: ContrastResult) -> str:
    parts, line = values.prompts, values.effects[0]
    lines = [markdown(name, values).replace("# interventions", "# contrast", 1), "## Controls", ""]
    for kind, kind_in_words in (
        ("shuffled_labels", "shuffled labels, taken through everything: parts, answers, direction, strength"),
        ("matched_norm", "random directions of the same length"),
    ):
        if (among_controls := line.controls.get(kind)) is not None:
            ends = f" [{among_controls.low:.3f}, {among_controls.high:.3f}]" if among_controls.low is not None else ""
            lines.append(f"- {among_controls.count} × {kind_in_words}: {among_controls.mean:.3f}{ends}")
    lines += ["", "In brackets where 95 % of such controls lie.", "", "## Strengths", ""]
    lines += [f"Fitted on {sum(parts['fit'])} prompts, chosen on {sum(parts['choose'])} others, told on {sum(parts['report'])} more.", ""]
    wanted, elsewhere = ("negatives", "positives") if values.wanted_on == "negatives" else ("positives", "negatives")
    if wanted == "negatives":
        lines += [
            "Every prompt is scored by the set of all positives' answers: the effect is that on prompts that do not meet the criterion"
        ]
        lines += ["(do they end as if they did?), the side effect that on those that do.", ""]
    lines += [f"| strength | mean Δ, {wanted} | mean abs Δ, {elsewhere} | gain |", "|---|---:|---:|---:|"]
    for point in values.curve:
        mark = " ◀" if point.strength == values.chosen_strength else ""
        lines.append(f"| {point.strength:g} | {point.effect:.4f} | {point.side_effect:.4f} | {point.gain:.4f}{mark} |")
    return "\n".join([*lines, "", f"A strength of 1 is the distance between the classes' means, {values.distance:.3f}.", ""])
