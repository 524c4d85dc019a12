"""Attribution patching: the effect of patching every head and MLP from one backward pass, held against exact patching."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

from pydantic import Field

from ..catalog import Kind, Result
from ..circuits.methods import Estimate
from ..errors import Problem
from ..events import Event, Phase
from ..manifest import Manifest
from ..results.part_effects import LIVE, AttributionPatchResult, PartEffectsHeadline
from ..runtime.context import Context
from . import _pairs, circuit
from ._pairs import part_effects
from .circuit.one_search import attributed, sampled

EXAMPLE: dict[str, Any] = {"model": {"source": "builtin:tiny", "revision": "final"}, "params": {**_pairs.FACTS, "method": "eap_ig"}}
SHOWN = 500
"""Estimates in result.json, the strongest first."""


class Params(_pairs.PairParams):
    """Which pairs, which estimate, of which parts, and how many to check it on."""

    method: Estimate = Field(
        "eap_ig", description="the clean run's gradient, or its mean on the way from corrupt inputs, or from each part's corrupt output"
    )
    level: Literal["node", "edge"] = Field("node", description="estimate heads and MLPs, or every edge between them")
    steps: int = Field(5, ge=1, le=200, description="points along the way, for integrated gradients")
    sample: int = Field(64, ge=3, description="parts to patch exactly as well: half of them the largest estimates, half at random")


def check(manifest: Manifest) -> list[Problem]:
    """Prompts missing, and answers that cannot be scored here."""
    return circuit.check(manifest)


estimate = _pairs.estimate_parts


def run(context: Context) -> Generator[Event, None, Result]:
    """Estimate all parts at once, then patch a sample of them one by one."""
    params = context.manifest.params
    assert isinstance(params, Params)
    ready = yield from part_effects.ready(context, "interchange")
    from ..circuits.attribution import attribution, correlation
    from ..circuits.nodes import node_name

    behaviour = ready.behaviour
    parts: list[Any]
    name: Callable[[Any], str]
    guesses: dict[Any, float]
    if params.level == "node":
        yield Phase("attributing", params.method)
        parts, name = list(behaviour.nodes), node_name
        guesses = attribution(behaviour, params.method, steps=params.steps)
        losses: Callable[[Sequence[Any]], Any] = behaviour.losses
        at_once = behaviour.at_once
    else:
        from ..circuits.edges import EdgeBehaviour

        edges = EdgeBehaviour(behaviour)
        parts, name = edges.graph.edges(edges.graph.valid), lambda edge: str(edge.name)
        estimates = yield from attributed(context, edges)
        guesses = dict(zip(parts, estimates[edges.graph.valid].tolist(), strict=True))
        losses, at_once = edges.losses_alone, edges.rows

    chosen = sampled(parts, guesses, params.sample, context.manifest.seed)
    yield Phase("patching", f"{len(chosen)} of {len(parts):,} {params.level}s, exactly")
    exact = yield from part_effects.scored(context, ready, chosen, losses, at_once, name, guesses)
    reach = behaviour.whole - behaviour.empty
    scores = [part_effects.PartScore(name(part), effect, guesses[part] / reach) for part, effect in exact.effects.items()]
    estimated = part_effects.Estimated(
        method=params.method,
        level=params.level,
        parts=len(parts),
        correlation=correlation([guesses[part] / reach for part in exact.effects], list(exact.effects.values())),
        estimates={name(part): guesses[part] / reach for part in sorted(parts, key=lambda part: -abs(guesses[part]))[:SHOWN]},
    )
    return (yield from part_effects.finished(context, ready, scores, exact.losses, estimated))


KIND = Kind(
    name="attribution_patch",
    title="Attribution patching",
    question="Which parts matter, by gradients, and how far can the gradients be trusted?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=AttributionPatchResult,
    headline=PartEffectsHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
