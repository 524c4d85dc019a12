"""What patching kinds that score parts one by one share: run both prompts, score, tell, write. Torch-free at import."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...catalog import Result
from ...circuits.ratio import Ratio, largest, of_correlation, share_of
from ...events import Event, Metrics, Phase, Warned
from ...figures.bars import Bar, bars_svg
from ...patching import reach_report
from ...patching.reach_report import Reaches
from ...payload import LEFT_OUT, given
from ...results.part_effects import AttributionPatchResult, PartCell, PartEffect, PartEffectsHeadline, PartEffectsResult, TopHeldOut
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays, write_figure
from .. import _pairs

if TYPE_CHECKING:
    from torch import Tensor

    from ...circuits.nodes import Behaviour

Part = TypeVar("Part")
STORE = "effects.zarr"
DRAWN = 40
"""Parts in the figure, strongest first."""


@dataclass(frozen=True)
class Ready:
    """A behaviour to take apart, when the run began, and whether its pairs ask anything."""

    behaviour: Behaviour
    started: float
    reaches: Reaches

    @property
    def pairs(self) -> int:
        return len(self.reaches.each)


@dataclass(frozen=True)
class Scored(Generic[Part]):
    """The exact effect of every part as a share of the behaviour, and what each pair lost by it, in the metric's units."""

    effects: dict[Part, float]
    losses: NDArray[np.float32]
    """(parts, pairs)"""


def ready(context: Context, ablation: Any) -> Generator[Event, None, Ready]:
    """Load the model, read the pairs, and run both prompts of each."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    model, site_map = yield from open_model(manifest)
    from ...circuits.finder import check_behaviour
    from ...circuits.nodes import Behaviour
    from ...circuits.prepared import Example
    from ...patching.reach import Ends, reaches_of
    from ...sites.answers import Answer

    records, repeats = _pairs.without_repeats(_pairs.records_of(params))
    pairs = _pairs.read_pairs(params, records, model, site_map, as_whole=False)
    yield run_started(context, model)
    for text in repeats:
        yield Warned(text)
    yield Phase("running both prompts", f"{len(pairs)} pairs" if len(pairs) > 1 else "")
    examples = [Example(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual)) for pair in pairs]
    behaviour = Behaviour(site_map, examples, params.metric, ablation)
    check_behaviour(behaviour)
    ends = (Ends(whole, empty[None]) for whole, empty in behaviour.ends())
    other = "on corrupt ones" if ablation == "interchange" else f"with every head and MLP ablated ({ablation})"
    reaches = reaches_of(params.metric, [example.answer for example in examples], ends, manifest.seed, other)
    yield Metrics("headline", 0, PartEffectsHeadline(clean_metric=behaviour.whole, empty_metric=behaviour.empty).as_json())
    for text in reach_report.warnings(reaches):
        yield Warned(text)
    return Ready(behaviour, started, reaches)


def scored(
    context: Context,
    ready: Ready,
    parts: Sequence[Part],
    losses: Callable[[Sequence[Part]], Tensor],
    at_once: int,
    name: Callable[[Part], str],
    guesses: dict[Part, float] | None = None,
) -> Generator[Event, None, Scored[Part]]:
    """Every part's effect, told as it is found.

    losses: what each example's metric loses by each of some parts, (parts, examples); it is given `at_once` of them.
    """
    clean, empty = ready.behaviour.whole, ready.behaviour.empty
    reach, width = clean - empty, 1 + len(ready.behaviour.runs)

    def do(some: range) -> Numbers:
        each = losses([parts[i] for i in some])
        return np.concatenate([(each.mean(1, keepdim=True) / reach).numpy(), each.numpy()], axis=1).ravel()

    def say(_: int, some: range, numbers: Numbers) -> list[Event]:
        events: list[Event] = []
        for index, effect in zip(some, numbers.reshape(-1, width)[:, 0], strict=True):
            guess = None if guesses is None else guesses[parts[index]] / reach
            cell = PartCell(part=name(parts[index]), effect=float(effect), guess=guess, clean_metric=clean, empty_metric=empty)
            events.append(Metrics("cells", index, cell.as_json()))
        return events

    batches = [range(start, min(start + at_once, len(parts))) for start in range(0, len(parts), at_once)]
    done = yield from Steps(context, batches, unit="parts", size=len, name="batches").run(do, say)
    rows = np.concatenate(done).reshape(-1, width)
    return Scored(dict(zip(parts, rows[:, 0].tolist(), strict=True)), rows[:, 1:])


@dataclass(frozen=True)
class Estimated:
    """What a run that samples its parts by estimates says besides: the method, the level (node or edge), and the estimates of all parts."""

    method: str
    level: str
    parts: int
    correlation: float | None
    """Of the estimates with the exact effects."""
    estimates: Mapping[str, float]
    """The largest, as shares of the reach."""

    def result(self, values: PartEffectsResult, seconds: float) -> AttributionPatchResult:
        """The result with them."""
        return AttributionPatchResult(
            **given(values),
            method=self.method,
            level=self.level,
            parts=self.parts,
            correlation=self.correlation,
            estimates=self.estimates,
            seconds=seconds,
        )


@dataclass(frozen=True)
class PartScore:
    """A part's exact effect as a share of the reach, and the estimate of it where there is one."""

    name: str
    effect: float
    guess: float | None = None


def finished(
    context: Context,
    ready: Ready,
    parts: Sequence[PartScore],
    losses: NDArray[np.float32],
    estimated: Estimated | None = None,
) -> Generator[Event, None, Result]:
    """Write the effects, largest first in `top`, and return the result. losses: (parts, pairs), in the metric's units."""
    effects = np.array([part.effect for part in parts], np.float32)
    arrays: dict[str, Any] = {"effect": (("part",), effects), "loss": (("part", "pair"), losses)}
    yield from write_arrays(context.folder.path, STORE, arrays, {"parts": [part.name for part in parts]})
    behaviour, kind = ready.behaviour, context.manifest.kind
    each = (behaviour.per_example(()) - behaviour.per_example(behaviour.nodes)).double().numpy()
    order = sorted(range(len(parts)), key=lambda at: -abs(parts[at].effect))
    prompts = behaviour.prompts
    top = [_with_interval(parts[at], share_of(losses[at].astype(float), each, prompts)) for at in order]
    strongest = [parts[at] for at in order[:DRAWN]]
    bars = [Bar(part.name, part.effect, part.guess) for part in strongest]
    title = f"{kind.replace('_', ' ')}: the strongest {len(bars)} of {len(parts)}" if len(parts) > DRAWN else kind.replace("_", " ")
    yield write_figure(context.folder.path, "effects", bars_svg(title, "share of the behaviour", bars), "effect of each part")
    chosen = largest(losses.T.astype(float), each, context.manifest.seed, signed=False, prompts=prompts)
    held_out = None if chosen is None else TopHeldOut(effect=chosen.share.value, parts=tuple(parts[at].name for at in chosen.cells))
    values = PartEffectsResult(
        effects={part.name: part.effect for part in parts},
        top=tuple(top[:20]),
        top_held_out=held_out,
        pairs=ready.pairs,
        clean_metric=behaviour.whole,
        empty_metric=behaviour.empty,
        reach=ready.reaches.stated(),
    )
    seconds = time.monotonic() - ready.started
    whole = PartEffectsResult(**given(values), seconds=seconds) if estimated is None else estimated.result(values, seconds)
    headline = PartEffectsHeadline(
        top=top[0].name,
        effect=top[0].effect,
        correlation=LEFT_OUT if estimated is None else estimated.correlation,
        verdict=reach_report.verdict(ready.reaches) or LEFT_OUT,
    )
    bar = share_of(losses[order[0]].astype(float), each, prompts) if chosen is None else chosen.share
    uncertainty = {
        "effect": bar.uncertainty(f"{ready.pairs} pairs, the part chosen on other pairs", clear=bar.clear_of(0.0, ready.reaches.clear)),
        "reach.mean": ready.reaches.uncertainty(),
    }
    if estimated is not None:
        over = f"{len(parts)} parts, half of them the largest estimates"
        uncertainty["correlation"] = of_correlation(estimated.correlation, len(parts), over)
    return Result(whole.as_json(), headline.as_json(), _report(kind, ready, whole, top, estimated), digests(STORE, arrays), uncertainty)


def _with_interval(part: PartScore, share: Ratio) -> PartEffect:
    if part.guess is None:
        return PartEffect(name=part.name, effect=part.effect, low=share.low, high=share.high)
    return PartEffect(name=part.name, effect=part.effect, guess=part.guess, low=share.low, high=share.high)


def _report(kind: str, ready: Ready, values: PartEffectsResult, top: Sequence[PartEffect], estimated: Estimated | None) -> str:
    many = ready.pairs > 1
    lines = [f"# {kind.replace('_', ' ')}", ""]
    if estimated is not None:
        lines += [f"method: {estimated.method}", f"level: {estimated.level}"]
        r = estimated.correlation
        correlation = "not known, for fewer than three parts or a column that does not vary" if r is None else f"{r:.3f}"
        lines.append(f"correlation of estimates with exact effects, over {len(top)} parts: {correlation}")
    lines += ["", *reach_report.lines(ready.reaches), ""]
    lines += ["Effects are shares of what goes when every head and MLP is ablated, from the clean end to the corrupt one.", ""]
    if (held := values.top_held_out) is not None:
        chosen = " and ".join(dict.fromkeys(held.parts))
        lines += [
            f"The largest effect, chosen on one half of the pairs and measured on the other: **{held.effect:+.3f}** ({chosen}).",
            "",
        ]
    else:
        lines += ["Over one pair: how far effects hold for other pairs is not known.", ""]
    lines += ["![effects](figures/effects.svg)", ""]
    lines += ["| part | effect |" + (f" 95 % over {ready.pairs} pairs |" if many else "") + (" estimate |" if estimated else "")]
    lines += ["|---|---:|" + ("---:|" if many else "") + ("---:|" if estimated else "")]
    for row in top:
        bar = f" {row.low:+.3f} … {row.high:+.3f} |" if many else ""
        lines.append(f"| {row.name} | {row.effect:+.3f} |{bar}" + (f" {row.guess:+.3f} |" if estimated else ""))
    return "\n".join([*lines, ""])
