"""Everything that a contrast run makes of its labels: parts, answers, direction, strength, effect. Imports torch.

It is one function of the labels, so that it can be asked what it makes of labels that mean nothing: shuffled ones go through all of it,
and their effects are what the real one is held against.

Legend: P prompts, D width, S strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...errors import UserError
from ...features.prompts import Prompt
from ...models.loaded import LoadedModel
from ...results.contrast import StrengthPoint
from ...sites.site_map import SiteMap
from .._features.changed_model import Bench, bench_of
from .params import Params, part_sizes

Numbers = NDArray[np.float32]


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


def split(params: Params, positive: Sequence[bool], seed: int) -> Parts:
    """Each class dealt into the three parts in proportion. Raises UserError where a part would get none of a class."""
    rng = np.random.default_rng([seed, 0xC0])
    dealt: list[list[list[int]]] = []
    for wanted in (True, False):
        members = rng.permutation([i for i, is_positive in enumerate(positive) if is_positive is wanted]).tolist()
        fitted, chosen, _ = part_sizes(params, len(members))
        first, second = fitted, fitted + chosen
        dealt.append([members[:first], members[first:second], members[second:]])
        if min(map(len, dealt[-1])) < 2:
            what = "positive" if wanted else "negative"
            raise UserError(f"{len(members)} {what} prompts are too few for three parts", "each part needs two of each class")
    return Parts(*((dealt[0][part], dealt[1][part]) for part in range(3)))


@dataclass(frozen=True)
class Labelled:
    """Prompts under one set of labels."""

    params: Params
    bench: Bench
    clean_PD: Float[Tensor, "P D"]
    parts: Parts

    @property
    def offset_D(self) -> Float[Tensor, " D"]:
        """Mean of positives less mean of negatives, on the fitting part."""
        offset_D: Tensor = self.clean_PD[self.parts.fit[0]].mean(0) - self.clean_PD[self.parts.fit[1]].mean(0)
        return offset_D

    def places(self, part: str) -> tuple[list[int], int]:
        """Prompts of a part, those first where an effect is wanted, and how many these are."""
        wanted, elsewhere = self.parts.ordered(part, shared=self.params.shared_answers)
        return [*wanted, *elsewhere], len(wanted)

    def measure(self) -> Numbers:
        """Scores of the second part unchanged and at each strength, then of the third unchanged and at the strength that is chosen."""
        chosen_on, wanted = self.places("choose")
        strengths = np.array([0.0, *self.params.strengths])
        tried = self._scores(strengths, chosen_on)
        strength = choose(self.params.strengths, tried, wanted)
        return np.concatenate([tried.ravel(), self._scores(np.array([0.0, strength]), self.places("report")[0]).ravel()])

    def read(self, numbers: Numbers) -> LabelEffect:
        """What `measure` returned, taken apart."""
        (chosen_on, wanted), (told_on, shown) = self.places("choose"), self.places("report")
        rows = len(self.params.strengths) + 1
        tried = numbers[: rows * len(chosen_on)].reshape(rows, len(chosen_on))
        report = numbers[rows * len(chosen_on) :].reshape(2, len(told_on))
        curve = [_point(s, gain(tried[0], row, wanted)) for s, row in zip(self.params.strengths, tried[1:], strict=True)]
        return LabelEffect(choose(self.params.strengths, tried, wanted), curve, told_on[:shown], report[0], report[1], tried[0][:wanted])

    def _scores(self, strengths: NDArray[Any], places: Sequence[int]) -> Numbers:
        sizes = self.clean_PD.new_tensor(strengths)[:, None, None]
        changes_KPD = (sizes * self.offset_D).expand(-1, len(self.clean_PD), -1)
        scores: Numbers = self.bench.scores_of(self.params.layer, changes_KPD, places).cpu().numpy()
        return scores


@dataclass(frozen=True)
class LabelEffect:
    """What one set of labels comes to."""

    strength: float
    curve: list[StrengthPoint]
    told_on: list[int]
    """Prompts of the third part where an effect is wanted; they come first in the two below."""
    base: Numbers
    changed: Numbers
    certain: Numbers
    """Scores of the second part where an effect is wanted, unchanged."""

    @property
    def side_effect(self) -> float:
        return gain(self.base, self.changed, len(self.told_on))["side_effect"]


def bench_under(
    params: Params, model: LoadedModel, site_map: SiteMap, prompts: Sequence[Prompt], positive: Sequence[bool], beside: Bench | None = None
) -> tuple[Bench, list[str]]:
    """The prompts with their answers, and warnings: each one's own, or, shared, all answers that the labels' positives have. Where some
    prompts have none, a shuffle is scored by the answers of those that meet the criterion: its own would be fewer, or none.

    `beside`: a bench of the same prompts whose unchanged runs serve this one too.
    """
    if not params.shared_answers:
        return bench_of(model, site_map, list(prompts), params.metric, params.answers, params.batch_size)
    given = [prompt.extra.get("answer") for prompt in prompts]
    chosen = positive if all(given) else [prompt.score > 0.5 for prompt in prompts]
    shared = list(dict.fromkeys(str(answer) for answer, is_positive in zip(given, chosen, strict=True) if answer and is_positive))
    bare = [replace(prompt, extra={}) for prompt in prompts]
    bench, warnings = bench_of(model, site_map, bare, params.metric, shared or params.answers, params.batch_size)
    if beside is not None:
        bench = replace(bench, unchanged=beside.unchanged)
    return bench, warnings


def shuffled(positive: Sequence[bool], seed: int, draw: int) -> list[bool]:
    """The same labels in another order."""
    labels: list[bool] = np.random.default_rng([seed, 0xC2, draw]).permutation(np.array(positive)).tolist()
    return labels


def choose(strengths: Sequence[float], scored: Numbers | Sequence[Numbers], wanted: int) -> float:
    """The strength of the largest mean Δ on the first `wanted` prompts less mean |Δ| on the rest; the smallest of equals."""
    gains = [gain(scored[0], numbers, wanted)["gain"] for numbers in scored[1:]]
    return strengths[int(np.argmax(gains))]


def _point(strength: float, gained: dict[str, float]) -> StrengthPoint:
    return StrengthPoint(strength=strength, effect=gained["effect"], side_effect=gained["side_effect"], gain=gained["gain"])


def gain(base: Any, changed: Any, wanted: int) -> dict[str, float]:
    """Mean Δ on the first `wanted` prompts, mean |Δ| on the rest, and the one less the other."""
    delta = np.asarray(changed, dtype=np.float64) - base
    effect, side = float(delta[:wanted].mean()), float(np.abs(delta[wanted:]).mean())
    return {"effect": effect, "side_effect": side, "gain": effect - side}
