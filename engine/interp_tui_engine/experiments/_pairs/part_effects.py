"""What patching kinds that score parts one by one share: run both prompts, score, tell, write. Torch-free at import."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...catalog import Result
from ...events import Event, Metrics, Phase
from ...figures.bars import Bar, bars_svg
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays, write_figure
from .. import _pairs

if TYPE_CHECKING:
    from ...circuits.nodes import Behaviour

Part = TypeVar("Part")
STORE = "effects.zarr"
DRAWN = 40
"""Parts in the figure, strongest first."""


@dataclass(frozen=True)
class Ready:
    """A behaviour to take apart, and when the run began."""

    behaviour: Behaviour
    started: float
    pairs: int


def ready(context: Context, ablation: Any) -> Generator[Event, None, Ready]:
    """Load the model, read the pairs, and run both prompts of each."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    model, site_map = yield from open_model(manifest)
    from ...circuits.finder import check_behaviour
    from ...circuits.nodes import Behaviour, Example
    from ...sites.answers import Answer

    pairs = _pairs.read_pairs(params, _pairs.records_of(params), model, site_map, as_whole=False)
    yield run_started(context, model)
    yield Phase("running both prompts", f"{len(pairs)} pairs" if len(pairs) > 1 else "")
    examples = [Example(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual)) for pair in pairs]
    behaviour = Behaviour(site_map, examples, params.metric, ablation)
    check_behaviour(behaviour)
    return Ready(behaviour, started, len(pairs))


def scored(
    context: Context,
    found: Ready,
    parts: Sequence[Part],
    score: Callable[[Part], float],
    name: Callable[[Part], str],
    guesses: dict[Part, float] | None = None,
) -> Generator[Event, None, dict[Part, float]]:
    """The exact effect of every part as a share of the behaviour, told as it is found."""
    reach = found.behaviour.whole - found.behaviour.empty

    def do(part: Part) -> Numbers:
        return np.array([score(part) / reach], np.float32)

    def say(index: int, part: Part, numbers: Numbers) -> list[Event]:
        guess = None if guesses is None else guesses[part] / reach
        return [Metrics("cells", index, {"part": name(part), "effect": float(numbers[0]), "guess": guess})]

    done = yield from Steps(context, parts, unit="parts", size=lambda _: 1).run(do, say)
    return {part: float(numbers[0]) for part, numbers in zip(parts, done, strict=True)}


def finished(context: Context, found: Ready, rows: list[dict[str, Any]], extra: dict[str, Any]) -> Generator[Event, None, Result]:
    """Write the effects, largest first in `top`, and return the result."""
    effects = np.array([row["effect"] for row in rows], np.float32)
    arrays: dict[str, Any] = {"effect": (("part",), effects)}
    yield from write_arrays(context.folder.path, STORE, arrays, {"parts": [row["name"] for row in rows]})
    top = sorted(rows, key=lambda row: -abs(row["effect"]))
    behaviour, kind = found.behaviour, context.manifest.kind
    bars = [Bar(row["name"], row["effect"], row.get("guess")) for row in top[:DRAWN]]
    said = f"{kind.replace('_', ' ')}: the strongest {len(bars)} of {len(rows)}" if len(rows) > DRAWN else kind.replace("_", " ")
    yield write_figure(context.folder.path, "effects", bars_svg(said, "share of the behaviour", bars), "effect of each part")
    values = {
        "effects": {row["name"]: row["effect"] for row in rows},
        "top": top[:20],
        "pairs": found.pairs,
        "clean_metric": behaviour.whole,
        "empty_metric": behaviour.empty,
        **extra,
        "seconds": time.monotonic() - found.started,
    }
    headline = {"top": top[0]["name"], "effect": top[0]["effect"], **{k: v for k, v in extra.items() if k == "correlation"}}
    guessed = "guess" in rows[0]
    lines = [f"# {kind.replace('_', ' ')}", "", *(f"{key}: {value}" for key, value in extra.items() if isinstance(value, (str, float))), ""]
    lines += ["Effects are shares of what goes when every head and MLP is ablated.", "", "![effects](figures/effects.svg)", ""]
    lines += ["| part | effect |" + (" estimate |" if guessed else ""), "|---|---:|" + ("---:|" if guessed else "")]
    lines += [f"| {row['name']} | {row['effect']:+.3f} |" + (f" {row['guess']:+.3f} |" if guessed else "") for row in top]
    return Result(values, headline, "\n".join([*lines, ""]), digests(STORE, arrays))
