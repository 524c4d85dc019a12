"""Attribution patching: the effect of patching every head and MLP from one backward pass, held against exact patching."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..catalog import Group, Result
from ..errors import Problem
from ..events import Event, Phase
from ..manifest import Manifest
from . import _effects_run, _pairs, circuit
from .context import Context

TITLE = "Attribution patching"
QUESTION = "Which parts matter, by gradients, and how far can the gradients be trusted?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {"model": {"source": "builtin:tiny", "revision": "final"}, "params": {**_pairs.FACTS, "method": "eap_ig"}}


class Params(_pairs.PairParams):
    """Which pairs, which estimate, and how many parts to check it on."""

    method: Literal["eap", "eap_ig"] = Field(
        "eap_ig", description="the clean run's gradient, or its mean along the way from the corrupt one"
    )
    steps: int = Field(5, ge=1, le=200, description="points along the way, for eap_ig")
    sample: int = Field(64, ge=3, description="parts to patch exactly as well: half of them the largest estimates, half at random")


def check(manifest: Manifest) -> list[Problem]:
    """Prompts missing, and answers that cannot be scored here."""
    return circuit.check(manifest)


estimate = circuit.estimate


def run(context: Context) -> Generator[Event, None, Result]:
    """Estimate all parts at once, then patch a sample of them one by one."""
    params = context.manifest.params
    assert isinstance(params, Params)
    found = yield from _effects_run.ready(context, "interchange")
    from ..circuits.attribution import attribution, correlation
    from ..circuits.nodes import node_name

    behaviour = found.behaviour
    yield Phase("attributing", params.method)
    guesses = attribution(behaviour, steps=params.steps if params.method == "eap_ig" else 0)
    ranked = sorted(behaviour.nodes, key=lambda node: -abs(guesses[node]))
    sure, rest = ranked[: params.sample // 2], ranked[params.sample // 2 :]
    drawn = np.random.default_rng(context.manifest.seed).permutation(len(rest))[: params.sample - len(sure)]
    chosen = [node for node in behaviour.nodes if node in {*sure, *(rest[i] for i in drawn)}]
    yield Phase("patching", f"{len(chosen)} of {len(ranked)} parts, exactly")
    exact = yield from _effects_run.scored(
        context, found, chosen, lambda node: behaviour.whole - behaviour.value([node]), node_name, guesses
    )
    reach = behaviour.whole - behaviour.empty
    rows = [{"name": node_name(node), "effect": effect, "guess": guesses[node] / reach} for node, effect in exact.items()]
    extra = {
        "method": params.method,
        "correlation": correlation({node: guesses[node] for node in exact}, exact),
        "estimates": {node_name(node): value / reach for node, value in guesses.items()},
    }
    return (yield from _effects_run.finished(context, found, rows, extra))
