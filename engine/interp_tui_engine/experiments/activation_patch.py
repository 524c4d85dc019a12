"""Activation patching: what each head and each MLP is worth, exactly, over pairs of prompts."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from ..catalog import Kind, Result
from ..errors import Problem
from ..events import Event, Phase
from ..manifest import Manifest
from ..results.part_effects import LIVE, PartEffectsHeadline, PartEffectsResult
from ..runtime.context import Context
from . import _pairs, circuit
from ._pairs import part_effects

EXAMPLE: dict[str, Any] = {"model": {"source": "builtin:tiny", "revision": "final"}, "params": dict(_pairs.FACTS)}


class Params(_pairs.PairParams):
    """Which pairs, and what an ablated part becomes."""

    ablation: Literal["interchange", "mean", "zero"] = Field("interchange", description="what takes a patched part's place")
    parts: Literal["all", "heads", "mlps"] = Field("all", description="which parts to patch")


def check(manifest: Manifest) -> list[Problem]:
    """Prompts missing, and answers that cannot be scored here."""
    return circuit.check(manifest)


estimate = _pairs.estimate_parts


def run(context: Context) -> Generator[Event, None, Result]:
    """Patch part by part; a part that is done is not done again after a kill."""
    params = context.manifest.params
    assert isinstance(params, Params)
    ready = yield from part_effects.ready(context, params.ablation)
    from ..circuits.nodes import node_name

    behaviour = ready.behaviour
    wanted = {"all": ("z", "mlp_out"), "heads": ("z",), "mlps": ("mlp_out",)}[params.parts]
    nodes = [node for node in behaviour.nodes if node.name in wanted]
    yield Phase("patching", f"{len(nodes)} parts")
    exact = yield from part_effects.scored(context, ready, nodes, behaviour.losses, behaviour.at_once, node_name)
    parts = [part_effects.PartScore(node_name(node), effect) for node, effect in exact.effects.items()]
    return (yield from part_effects.finished(context, ready, parts, exact.losses))


KIND = Kind(
    name="activation_patch",
    title="Activation patching",
    question="How much of a behaviour goes when one head or MLP acts as if the prompt were the other?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=PartEffectsResult,
    headline=PartEffectsHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
