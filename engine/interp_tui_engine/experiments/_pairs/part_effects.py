"""What patching kinds that score parts one by one share: run both prompts, score, tell, write. Torch-free at import."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...catalog import Result
from ...circuits.ratio import largest, of_correlation, share_of
from ...events import Event, Metrics, Phase, Warned
from ...figures.bars import Bar, bars_svg
from ...patching import reach_report
from ...patching.reach_report import Reaches
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
    from ...circuits.nodes import Behaviour, Example
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
    yield Metrics("headline", 0, {"clean_metric": behaviour.whole, "empty_metric": behaviour.empty})
    for text in reach_report.warnings(reaches):
        yield Warned(text)
    return Ready(behaviour, started, reaches)


def scored(
    context: Context,
    found: Ready,
    parts: Sequence[Part],
    score: Callable[[Part], tuple[float, Tensor]],
    name: Callable[[Part], str],
    guesses: dict[Part, float] | None = None,
) -> Generator[Event, None, Scored[Part]]:
    """Every part's effect, told as it is found; `score` gives the mean loss of the metric, and each example's (examples,)."""
    ends = {"clean_metric": found.behaviour.whole, "empty_metric": found.behaviour.empty}
    reach = found.behaviour.whole - found.behaviour.empty

    def do(part: Part) -> Numbers:
        loss, each = score(part)
        return np.concatenate([np.array([loss / reach], np.float32), each.numpy()])

    def say(index: int, part: Part, numbers: Numbers) -> list[Event]:
        guess = None if guesses is None else guesses[part] / reach
        return [Metrics("cells", index, {"part": name(part), "effect": float(numbers[0]), "guess": guess, **ends})]

    done = yield from Steps(context, parts, unit="parts", size=lambda _: 1).run(do, say)
    effects = {part: float(numbers[0]) for part, numbers in zip(parts, done, strict=True)}
    return Scored(effects, np.stack([numbers[1:] for numbers in done]))


def finished(
    context: Context, found: Ready, rows: list[dict[str, Any]], losses: NDArray[np.float32], extra: dict[str, Any]
) -> Generator[Event, None, Result]:
    """Write the effects, largest first in `top`, and return the result."""
    effects = np.array([row["effect"] for row in rows], np.float32)
    arrays: dict[str, Any] = {"effect": (("part",), effects), "loss": (("part", "pair"), losses)}
    yield from write_arrays(context.folder.path, STORE, arrays, {"parts": [row["name"] for row in rows]})
    behaviour, kind = found.behaviour, context.manifest.kind
    each = (behaviour.per_example(()) - behaviour.per_example(behaviour.nodes)).double().numpy()
    prompts = behaviour.prompts
    shares = [share_of(row.astype(float), each, prompts) for row in losses]
    rows = [{**row, "low": share.low, "high": share.high} for row, share in zip(rows, shares, strict=True)]
    top = sorted(rows, key=lambda row: -abs(row["effect"]))
    bars = [Bar(row["name"], row["effect"], row.get("guess")) for row in top[:DRAWN]]
    title = f"{kind.replace('_', ' ')}: the strongest {len(bars)} of {len(rows)}" if len(rows) > DRAWN else kind.replace("_", " ")
    yield write_figure(context.folder.path, "effects", bars_svg(title, "share of the behaviour", bars), "effect of each part")
    chosen = largest(losses.T.astype(float), each, context.manifest.seed, signed=False, prompts=prompts)
    values = {
        "effects": {row["name"]: row["effect"] for row in rows},
        "top": top[:20],
        "top_held_out": None if chosen is None else {"effect": chosen.share.value, "parts": [rows[cell]["name"] for cell in chosen.cells]},
        "pairs": found.pairs,
        "clean_metric": behaviour.whole,
        "empty_metric": behaviour.empty,
        "reach": found.reaches.as_json(),
        **extra,
        "seconds": time.monotonic() - found.started,
    }
    headline = {"top": top[0]["name"], "effect": top[0]["effect"], **{k: v for k, v in extra.items() if k == "correlation"}}
    headline |= {"verdict": verdict} if (verdict := reach_report.verdict(found.reaches)) else {}
    bar = share_of(losses[rows.index(top[0])].astype(float), each, prompts) if chosen is None else chosen.share
    uncertainty = {
        "effect": bar.uncertainty(f"{found.pairs} pairs, the part chosen on other pairs", clear=bar.clear_of(0.0, found.reaches.clear)),
        "reach.mean": found.reaches.uncertainty(),
    }
    if "correlation" in extra:
        uncertainty["correlation"] = of_correlation(
            extra["correlation"], len(rows), f"{len(rows)} parts, half of them the largest estimates"
        )
    return Result(values, headline, _report(kind, found, values, top), digests(STORE, arrays), uncertainty)


def _report(kind: str, found: Ready, values: dict[str, Any], top: Sequence[dict[str, Any]]) -> str:
    guessed, many = "guess" in top[0], found.pairs > 1
    lines = [f"# {kind.replace('_', ' ')}", ""]
    lines += [f"{key}: {values[key]}" for key in ("method", "level") if key in values]
    if guessed:
        r = values["correlation"]
        correlation = "not known, for fewer than three parts or a column that does not vary" if r is None else f"{r:.3f}"
        lines.append(f"correlation of estimates with exact effects, over {len(top)} parts: {correlation}")
    lines += ["", *reach_report.lines(found.reaches), ""]
    lines += ["Effects are shares of what goes when every head and MLP is ablated, from the clean end to the corrupt one.", ""]
    if (held := values["top_held_out"]) is not None:
        chosen = " and ".join(dict.fromkeys(held["parts"]))
        lines += [
            f"The largest effect, chosen on one half of the pairs and measured on the other: **{held['effect']:+.3f}** ({chosen}).",
            "",
        ]
    else:
        lines += ["Over one pair: how far effects hold for other pairs is not known.", ""]
    lines += ["![effects](figures/effects.svg)", ""]
    lines += ["| part | effect |" + (f" 95 % over {found.pairs} pairs |" if many else "") + (" estimate |" if guessed else "")]
    lines += ["|---|---:|" + ("---:|" if many else "") + ("---:|" if guessed else "")]
    for row in top:
        bar = f" {row['low']:+.3f} … {row['high']:+.3f} |" if many else ""
        lines.append(f"| {row['name']} | {row['effect']:+.3f} |{bar}" + (f" {row['guess']:+.3f} |" if guessed else ""))
    return "\n".join([*lines, ""])
