"""A contrast run: three parts of the prompts, one direction, one strength. Imports torch.

direction = unit(mean of positives − mean of negatives) of the residual stream at the last token, on the first part
strength  = argmax over strengths of (mean Δ where it is wanted − mean |Δ| elsewhere), on the second part
effect    = with Student-t interval, on the third, beside random directions of the same length

It is wanted on positives, whose own answers should become likelier; with shared answers on negatives, which should end as positives do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ...catalog import Result
from ...errors import UserError
from ...events import Artifact, Event, Metrics, Phase, Warned
from ...features import effects, ids, interventions
from ...features.interventions import Intervention
from ...features.prompts import Prompt
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Steps
from ...sites.site import Site
from .. import _features
from .._features.changed_model import Bench, bench_of
from ..interventions.compute import summary
from ..interventions.report import markdown
from .params import Params

ROWS, DIRECTION = "interventions.jsonl", "direction.safetensors"


SURE = 0.9
"""Mean probability of their answers from which on there is nothing to bring about in positives."""


@dataclass(frozen=True)
class Parts:
    """Places of the prompts in each part, positives and negatives apart."""

    fit: tuple[list[int], list[int]]
    choose: tuple[list[int], list[int]]
    report: tuple[list[int], list[int]]

    def ordered(self, part: str, *, shared: bool) -> tuple[list[int], list[int]]:
        """Places of a part where an effect is wanted, and elsewhere."""
        positives, negatives = getattr(self, part)
        return (negatives, positives) if shared else (positives, negatives)


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError where a part would be empty."""
    params, seed = context.manifest.params, context.manifest.seed
    assert isinstance(params, Params)
    model, site_map = yield from open_model(context.manifest)
    site_map.check(Site("resid_post", params.layer))
    prompts = _features.prompts_of(params.prompts)
    shared = list(params.answers)
    if params.shared_answers:
        shared = list(dict.fromkeys(str(p.extra["answer"]) for p in prompts if p.score > 0.5 and "answer" in p.extra)) or shared
        prompts = [replace(p, extra={}) for p in prompts]
    parts = split(params, prompts, seed)
    bench, warnings = bench_of(model, site_map, prompts, params.metric, shared, params.batch_size)
    yield run_started(context, model)
    for warning in warnings:
        yield Warned(warning)
    yield Phase("fitting", f"{sum(map(len, parts.fit))} prompts")
    clean_PD = bench.clean(params.layer).float()
    offset_D = clean_PD[parts.fit[0]].mean(0) - clean_PD[parts.fit[1]].mean(0)
    distance = float(offset_D.norm())
    if not distance > 0:
        raise UserError("positives and negatives have the same mean activation", "give prompts that differ, or another layer")
    yield Phase("choosing a strength", f"{len(params.strengths)} on {sum(map(len, parts.choose))} prompts")
    chosen_on, told_on = (parts.ordered(part, shared=params.shared_answers) for part in ("choose", "report"))
    chosen_places, told_places = [*chosen_on[0], *chosen_on[1]], [*told_on[0], *told_on[1]]
    # steps: what the second part is like unchanged, then at each strength; then the third likewise, at the chosen strength and for controls
    plan: list[tuple[str, float, int]] = [("choose", 0.0, 0), *(("choose", s, 0) for s in params.strengths), ("report", 0.0, 0)]
    plan += [("report", 1.0, draw) for draw in range(params.draws + 1)]
    scored: list[np.ndarray[Any, Any]] = []

    def chosen() -> float:
        return choose(params.strengths, scored[: len(params.strengths) + 1], len(chosen_on[0]))

    def do(step: tuple[str, float, int]) -> Any:
        part, strength, draw = step
        places = chosen_places if part == "choose" else told_places
        size = strength * (chosen() if part == "report" and strength else 1.0)
        along_D = offset_D if draw == 0 else _random(offset_D, seed, draw)
        change_PD = (size * along_D).expand_as(clean_PD) if size else None
        return bench.scores(params.layer, change_PD, places).cpu().numpy()

    def say(index: int, step: tuple[str, float, int], numbers: Any) -> list[Event]:
        scored.append(numbers)
        part, strength, _ = step
        if part != "choose" or not strength:
            return []
        return [Metrics("cells", index, {"strength": strength, **_gain(scored[0], numbers, len(chosen_on[0]))})]

    done = yield from Steps(context, plan, unit="changes", size=lambda step: 1).run(do, say)
    strength = chosen()
    if told := _certain(params, done[0][: len(chosen_on[0])]):
        yield Warned(told)
    count = len(params.strengths)
    rows = _rows(params, context, bench, told_on, strength, done[count + 1], done[count + 2 :])
    interventions.write(context.folder.path / ROWS, rows)
    name = rows[0].feature_id
    save_file({name: (offset_D / distance).cpu()}, context.folder.path / DIRECTION)
    yield Artifact(ROWS, "intervention rows")
    yield Artifact(DIRECTION, "the direction, of unit length")
    own, controls = [row for row in rows if row.control is None], [row for row in rows if row.control is not None]
    found = effects.effect(name, own, controls)
    line = summary(found, strength, "steer", found.p)
    yield Metrics("case", 0, line)
    curve = [{"strength": s, **_gain(done[0], numbers, len(chosen_on[0]))} for s, numbers in zip(params.strengths, done[1:], strict=False)]
    values: dict[str, Any] = {
        **{"model": model.source, "criterion": params.criterion, "verb": "steer", "metric": params.metric, "rows": len(rows)},
        **{"positives": len(parts.report[0]), "negatives": len(parts.report[1]), "feature": name, "distance": distance, "curve": curve},
        **{"chosen_strength": strength, "effect": line["effect"], "effect_low": line["low"], "effect_high": line["high"]},
        **{"side_effect": line["side_effect"], "effects": [line], "path": ROWS, "direction": DIRECTION},
        "wanted_on": "negatives" if params.shared_answers else "positives",
        "prompts": {part: [len(side) for side in getattr(parts, part)] for part in ("fit", "choose", "report")},
    }
    digest = {"scores": hashlib.sha256(np.concatenate(done).tobytes()).hexdigest()}
    headline = {"strength": strength, "effect": line["effect"], "clear": found.clear}
    return Result(values, headline, _report(context.manifest.name, values), digest)


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


def split(params: Params, prompts: Sequence[Prompt], seed: int) -> Parts:
    """Each class dealt into the three parts in proportion. Raises UserError where a part would get none of a class."""
    rng = np.random.default_rng([seed, 0xC0])
    dealt: list[list[list[int]]] = []
    for positive in (True, False):
        members = rng.permutation([i for i, p in enumerate(prompts) if (p.score > 0.5) is positive]).tolist()
        first = round(params.fit * len(members))
        second = first + round(params.choose * len(members))
        dealt.append([members[:first], members[first:second], members[second:]])
        if min(map(len, dealt[-1])) < 2:
            what = "positive" if positive else "negative"
            raise UserError(f"{len(members)} {what} prompts are too few for three parts", "each part needs two of each class")
    return Parts(*((dealt[0][part], dealt[1][part]) for part in range(3)))


def choose(strengths: Sequence[float], scored: Sequence[np.ndarray[Any, Any]], wanted: int) -> float:
    """The strength of the largest mean Δ on the first `wanted` prompts less mean |Δ| on the rest; the smallest of equals."""
    gains = [_gain(scored[0], numbers, wanted)["gain"] for numbers in scored[1:]]
    return strengths[int(np.argmax(gains))]


def _gain(base: Any, changed: Any, wanted: int) -> dict[str, float]:
    delta = np.asarray(changed, dtype=np.float64) - base
    effect, side = float(delta[:wanted].mean()), float(np.abs(delta[wanted:]).mean())
    return {"effect": effect, "side_effect": side, "gain": effect - side}


def _random(offset_D: Tensor, seed: int, draw: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, 0xC1, draw]).integers(2**62)))
    direction_D = torch.randn(offset_D.shape[0], generator=generator).to(offset_D.device)
    control_D: Tensor = direction_D / direction_D.norm() * offset_D.norm()
    return control_D


def _rows(
    params: Params, context: Context, bench: Bench, told_on: tuple[list[int], list[int]], strength: float, base: Any, changed: Sequence[Any]
) -> list[Intervention]:
    name = ids.direction(params.layer, params.criterion)
    rows = []
    for draw, scores in enumerate(changed):
        side = _gain(base, scores, len(told_on[0]))["side_effect"]
        metadata: dict[str, Any] = {"strength": strength, "metric": params.metric}
        metadata |= {"control_type": "matched_norm", "draw": draw} if draw else {}
        for place, prompt in enumerate(told_on[0]):
            rows.append(
                Intervention(
                    model=bench.model.source,
                    feature_id=name,
                    verb="steer",
                    baseline=float(base[place]),
                    changed=float(scores[place]),
                    criterion=params.criterion,
                    prompt_id=bench.prompts[prompt].id,
                    side_effect=side,
                    metadata=metadata,
                )
            )
    return rows


def _report(name: str, values: dict[str, Any]) -> str:
    parts = values["prompts"]
    lines = [markdown(name, values).replace("# interventions", "# contrast", 1), "## Strengths", ""]
    lines += [f"Fitted on {sum(parts['fit'])} prompts, chosen on {sum(parts['choose'])} others, told on {sum(parts['report'])} more.", ""]
    wanted, elsewhere = ("negatives", "positives") if values["wanted_on"] == "negatives" else ("positives", "negatives")
    if wanted == "negatives":
        lines += [
            "Every prompt is scored by the set of all positives' answers: the effect is that on prompts that do not meet the criterion"
        ]
        lines += ["(do they end as if they did?), the side effect that on those that do.", ""]
    lines += [f"| strength | mean Δ, {wanted} | mean abs Δ, {elsewhere} | gain |", "|---:|---:|---:|---:|"]
    for point in values["curve"]:
        mark = " ◀" if point["strength"] == values["chosen_strength"] else ""
        lines.append(f"| {point['strength']:g} | {point['effect']:.4f} | {point['side_effect']:.4f} | {point['gain']:.4f}{mark} |")
    return "\n".join([*lines, "", f"A strength of 1 is the distance between the classes' means, {values['distance']:.3f}.", ""])
