"""An interventions run: features and controls to trials, trials to rows, rows to effects. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import atomic
from ...catalog import Result
from ...errors import UserError
from ...events import Artifact, Event, Metrics, Phase, Warned
from ...features import effects, ids, interventions
from ...features.effects import Effect
from ...features.interventions import Intervention
from ...features.ranking import false_discovery
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Steps
from ...validation_errors import nearest
from .. import _features
from .._features.changed_model import Bench, bench_of
from .._features.evidence_files import file_of
from .._features.plain_text import Change, plain_text
from .._features.space import Space, spaces_of
from .params import Params
from .report import markdown

ROWS = "interventions.jsonl"


@dataclass(frozen=True)
class Trial:
    """One change: of which feature of which space, how strongly, and as which kind of control of another (None: for itself)."""

    space: int
    feature: int
    strength: float
    control: str | None = None
    draw: int = 0
    changed: int = -1
    """The feature that is really changed: another one, in a control."""


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError for features or prompts that do not fit the model."""
    params: Params = context.manifest.params
    model, site_map = yield from open_model(context.manifest)
    targets = _targets(params)
    layers = sorted({_layer(name) for name in targets})
    spaces = spaces_of(params, layers, site_map, model.device)
    prompts = _features.prompts_of(params.prompts)
    positives = [p for p in prompts if p.score > 0.5][: params.most_prompts]
    negatives = [p for p in prompts if p.score <= 0.5]
    negatives = negatives[:: max(1, len(negatives) // params.most_prompts)][: params.most_prompts]  # spread over the file: it may be sorted
    if len(positives) < 2 or not negatives:
        raise UserError(f"{len(positives)} positive and {len(negatives)} negative prompts", "two positives and one negative are the least")
    bench, warnings = bench_of(model, site_map, positives + negatives, params.metric, params.answers, params.batch_size)
    yield run_started(context, model)
    for warning in warnings:
        yield Warned(warning)
    yield Phase("reading features", f"{len(prompts)} prompts")
    clean = [bench.clean(space.layer) for space in spaces]
    values = [space.read(x_PD) for space, x_PD in zip(spaces, clean, strict=True)]
    trials = _trials(params, targets, spaces, values, context.manifest.seed)
    yield Phase("intervening", f"{len(targets)} features, {len(trials)} changes, {len(positives)} positives and {len(negatives)} negatives")
    identity = params.model_name or model.source
    everyone = range(len(bench.prompts))
    base = bench.scores(spaces[0].layer, None, everyone).cpu().numpy()
    text = plain_text(params.plain_text, params.plain_rows, model, site_map) if params.plain_rows else None
    plain_base = text.losses(spaces[0].layer, None) if text is not None else np.zeros(0, np.float32)
    table = Table(params, identity, spaces, bench, len(positives), base, plain_base)

    def do(trial: Trial) -> Any:
        space = spaces[trial.space]
        change = _change(params, trial, space, values[trial.space], len(positives), context.manifest.seed)
        scores = bench.scores(space.layer, change(clean[trial.space]), everyone).cpu().numpy()
        return np.concatenate([scores, text.losses(space.layer, change)]) if text is not None else scores

    def say(index: int, trial: Trial, numbers: Any) -> list[Event]:
        table.add(trial, numbers)
        # told again as its controls come in: the newest line of a place is the one that counts
        place = sum(other.control is None for other in trials[: index + 1]) - 1
        return [Metrics("case", place, table.summary(trial, None))]

    done = yield from Steps(context, trials, unit="changes", size=lambda trial: 1).run(do, say)
    interventions.write(context.folder.path / ROWS, table.rows)
    yield Artifact(ROWS, "intervention rows")
    result = _result(context, params, table, trials, np.concatenate([base, plain_base, *done]))
    for place, line in enumerate(result.values["effects"]):
        yield Metrics("case", place, line)
    return result


def _targets(params: Params) -> list[str]:
    if params.report is None:
        return list(dict.fromkeys(params.targets))
    report = atomic.read_json(file_of(params.report, "report"))
    cards = report.get("cards") if isinstance(report, dict) else None
    names = [card["feature_id"] for card in cards or () if isinstance(card, dict) and isinstance(card.get("feature_id"), str)]
    if not names:
        raise UserError(f"{params.report} holds no cards", "give an inspect run that is done, or its report.json")
    return list(dict.fromkeys(names))[: params.top]


def _layer(name: str) -> int:
    known = ids.parse(name)
    if known is None:
        raise UserError(f"{name!r:.60} is no feature that can be changed", "write a hidden dimension as L2:D95, a latent as SAE:L2:F417")
    return known.layer


def _trials(params: Params, targets: Sequence[str], spaces: Sequence[Space], values: Sequence[Tensor], seed: int) -> list[Trial]:
    rng = np.random.default_rng([seed, 0x7124])
    places = {name: (s, f) for s, space in enumerate(spaces) for f, name in enumerate(space.names)}
    chosen = []
    for name in targets:
        if name not in places:
            kinds = {"sae": "SAE latents", "direction": "directions"}.get(params.features, "hidden dimensions")
            guess = nearest(name, list(places)[:5000])
            hint = f"{f'did you mean {guess!r}? ' if guess else ''}there are {len(places):,} {kinds}, from {next(iter(places))!r}"
            raise UserError(f"the model has no feature {name!r:.60}", hint)
        chosen.append(places[name])
    trials = []
    for space, feature in chosen:
        used = {f for s, f in chosen if s == space}
        size = values[space].abs().mean(0)
        fires = (values[space].abs() > 0).float().mean(0) + 1e-3 * size / size.max().clamp_min(1e-12)  # hidden dimensions all fire: by size
        others = [f for f in range(len(spaces[space].names)) if f not in used and float(fires[f]) > 0]
        for strength in params.strengths:
            trials.append(Trial(space, feature, strength, changed=feature))
            for kind in params.controls:
                for draw in range(params.draws if kind in ("random", "matched_norm") else 1):
                    changed = feature
                    if kind in ("random", "matched_frequency") and not others:
                        continue  # there is no other feature of this kind to change
                    if kind == "random":
                        changed = int(rng.choice(others))
                    elif kind == "matched_frequency":
                        changed = min(others, key=lambda f: (abs(float(fires[f]) - float(fires[feature])), f))
                    trials.append(Trial(space, feature, strength, kind, draw, changed))
    return trials


def _change(params: Params, trial: Trial, space: Space, values_PF: Tensor, positives: int, seed: int) -> Change:
    """What is added to a residual stream, at each of its positions: (a′ − a)·d, or a random direction of that length.

    The constants in a′ (means, maxima, spreads) are of the prompts' last tokens, `values_PF`, wherever the change is made.
    """
    index = trial.changed
    seen_P = values_PF[:, index].float()

    def changed(a: Tensor) -> Tensor:
        match params.verb:
            case "ablate":
                to_zero = params.to == "zero" or (params.to == "auto" and space.dictionary is not None)
                return torch.zeros_like(a) if to_zero else seen_P[positives:].mean().expand_as(a)
            case "amplify":
                return trial.strength * a
            case "clamp":
                return (trial.strength * seen_P[:positives].abs().max()).expand_as(a)
            case "patch":
                return seen_P[:positives].mean().expand_as(a)
        return a + trial.strength * seen_P.std()

    def change(x: Tensor) -> Tensor:
        if trial.control == "placebo":
            return torch.zeros_like(x)
        flat_ND = x.reshape(-1, x.shape[-1])
        a_N = space.read(flat_ND)[:, index].float()
        delta_ND = (changed(a_N) - a_N)[:, None] * space.direction(index, flat_ND.shape[1], flat_ND.device).float()
        if trial.control == "matched_norm":
            generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, trial.feature, trial.draw]).integers(2**62)))
            random_D = torch.randn(flat_ND.shape[1], generator=generator).to(flat_ND.device)
            delta_ND = delta_ND.norm(dim=1, keepdim=True) * (random_D / random_D.norm())
        return delta_ND.reshape(x.shape)

    return change


class Table:
    """Rows as they come, and what they add up to."""

    def __init__(self, params: Params, model: str, spaces: Sequence[Space], bench: Bench, positives: int, base: Any, plain: Any) -> None:
        self.params, self.model, self.spaces, self.bench, self.positives, self.base = params, model, spaces, bench, positives, base
        self.plain = plain
        self.loss: dict[tuple[str, float, str], list[float]] = {}
        self.rows: list[Intervention] = []
        self.by_trial: dict[tuple[str, float], list[Intervention]] = {}

    def add(self, trial: Trial, scores: Any) -> None:
        """The rows of one trial: one for each positive prompt, the side effect being the mean |Δ| of the negatives."""
        name = self.spaces[trial.space].names[trial.feature]
        scores, losses = scores[: len(self.base)], scores[len(self.base) :]
        side = float(np.abs(scores[self.positives :] - self.base[self.positives :]).mean())
        if self.params.metric == "kl" and self.params.verb in interventions.LOWERING:
            scores = -scores  # a distance has no direction: it counts as the effect of every verb
        metadata: dict[str, Any] = {"strength": trial.strength, "metric": self.params.metric}
        if len(losses):
            change = losses.astype(np.float64) - self.plain
            metadata["loss_change"] = float(change.mean())
            self.loss.setdefault((name, trial.strength, trial.control or ""), []).extend(change.tolist())
        if trial.control is not None:
            metadata |= {"control_type": trial.control, "draw": trial.draw, "changed": self.spaces[trial.space].names[trial.changed]}
        own = [
            Intervention(
                model=self.model,
                feature_id=name,
                verb=self.params.verb,
                baseline=float(self.base[i]),
                changed=float(scores[i]),
                criterion=self.params.criterion,
                prompt_id=self.bench.prompts[i].id,
                side_effect=side,
                metadata=metadata,
            )
            for i in range(self.positives)
        ]
        self.rows += own
        self.by_trial.setdefault((name, trial.strength), []).extend(own)

    def effect(self, name: str, strength: float) -> Effect:
        """What is known of a feature at a strength so far."""
        rows = self.by_trial[name, strength]
        return effects.effect(name, [row for row in rows if row.control is None], [row for row in rows if row.control is not None])

    def summary(self, trial: Trial, q: float | None) -> dict[str, Any]:
        """One line of the table."""
        name = self.spaces[trial.space].names[trial.feature]
        return summary(self.effect(name, trial.strength), trial.strength, self.params.verb, q) | self.cost(name, trial.strength)

    def cost(self, name: str, strength: float) -> dict[str, Any]:
        """What a change does to the loss on plain text, with its interval over rows, and its controls'; empty where none was read."""
        own = self.loss.get((name, strength, ""))
        if own is None:
            return {}
        found = effects.interval(own)
        others = [value for key, values in self.loss.items() if key[:2] == (name, strength) and key[2] for value in values]
        return {
            **{"loss_change": found.mean, "loss_low": found.low, "loss_high": found.high},
            "loss_control": float(np.mean(others)) if others else None,
        }


def summary(found: Effect, strength: float, verb: str, q: float | None) -> dict[str, Any]:
    """An effect as result.json and the view have it."""
    by_kind = {kind: {"mean": one.mean, "low": one.low, "high": one.high} for kind, one in found.controls.items()}
    return {
        **{"feature_id": found.feature_id, "verb": verb, "strength": strength, "effect": found.directed.mean},
        **{"low": found.directed.low, "high": found.directed.high, "rows": found.directed.count, "p": found.p, "q": q},
        **{"side_effect": found.side, "control": found.control.mean if found.control else None, "controls": by_kind},
        **{"control_low": found.control.low if found.control else None, "control_high": found.control.high if found.control else None},
        **{"specificity": found.specificity, "strong": found.strong, "clear": found.clear},
    }


def _result(context: Context, params: Params, table: Table, trials: Sequence[Trial], numbers: Any) -> Result:
    own = [trial for trial in trials if trial.control is None]
    found = [table.effect(table.spaces[trial.space].names[trial.feature], trial.strength) for trial in own]
    p = np.array([1.0 if one.p is None else one.p for one in found])
    q = false_discovery(p).tolist()
    lines = [
        summary(one, trial.strength, params.verb, value) | table.cost(one.feature_id, trial.strength)
        for one, trial, value in zip(found, own, q, strict=True)
    ]
    for line in lines:
        line["clear"] = bool(line["clear"] and line["q"] <= params.alpha)
    pick: Callable[[dict[str, Any]], float] = lambda line: line["strong"]  # noqa: E731
    best = max(lines, key=pick)
    values: dict[str, Any] = {
        **{"model": table.model, "criterion": params.criterion, "verb": params.verb, "metric": params.metric, "rows": len(table.rows)},
        **{"positives": table.positives, "negatives": len(table.bench.prompts) - table.positives, "baseline": float(table.base.mean())},
        **{"effects": lines, "chosen": best["feature_id"], "chosen_strength": best["strength"], "effect": best["effect"]},
        **{"effect_low": best["low"], "effect_high": best["high"], "side_effect": best["side_effect"], "path": ROWS},
        **{key: best[key] for key in ("loss_change", "loss_low", "loss_high") if key in best},
    }
    headline = {"top": best["feature_id"], "effect": best["effect"], "clear": sum(line["clear"] for line in lines)}
    digest = hashlib.sha256(np.asarray(numbers, np.float32).tobytes()).hexdigest()
    return Result(
        values,
        headline,
        markdown(context.manifest.name, values).replace("# interventions", f"# {context.manifest.kind}", 1),
        {"scores": digest},
    )
