"""Path patching: what one part tells another, all other paths held."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ..catalog import Kind, Result
from ..errors import Problem, UserError
from ..events import Event, Phase
from ..manifest import Manifest
from ..results.part_effects import LIVE, PartEffectsHeadline, PartEffectsResult
from ..runtime.context import Context
from ..sites.site import parse
from . import _pairs, circuit
from ._pairs import part_effects

if TYPE_CHECKING:
    from ..sites.site import Site
    from ..sites.site_map import SiteMap

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {**_pairs.FACTS, "nodes": ["L0H1", "L1H0", "L1H3", "L1.mlp", "L2.mlp", "L3.mlp"]},
}


class Params(_pairs.PairParams):
    """Which pairs, and between which parts."""

    nodes: list[str] = Field(min_length=1, description="heads and MLPs, such as L0H1 and L2.mlp: every edge between them is patched")


def check(manifest: Manifest) -> list[Problem]:
    """Prompts missing, and parts that are neither heads nor MLPs."""
    problems = circuit.check(manifest)
    for index, text in enumerate(manifest.params.nodes):
        try:
            site = parse(text)
        except UserError as error:
            problems.append(Problem(f"params.nodes.{index}", f"{error.what}; {error.hint}", value=text))
            continue
        if (site.name, site.head is None, site.layer is None) not in {("z", False, False), ("mlp_out", True, False)}:
            problems.append(Problem(f"params.nodes.{index}", f"{text!r} is neither a head (L0H1) nor an MLP (L0.mlp)", value=text))
    return problems


estimate = _pairs.estimate_parts


def run(context: Context) -> Generator[Event, None, Result]:
    """Patch edge by edge; an edge that is done is not done again after a kill."""
    params = context.manifest.params
    assert isinstance(params, Params)
    ready = yield from part_effects.ready(context, "interchange")
    from ..circuits.edges import EdgeBehaviour

    behaviour = ready.behaviour
    cuts = EdgeBehaviour(behaviour)
    nodes = _nodes(behaviour.site_map, params.nodes)
    edges = cuts.graph.edges(cuts.graph.between(nodes))
    yield Phase("patching", f"{len(edges)} edges")

    exact = yield from part_effects.scored(context, ready, edges, cuts.losses_alone, cuts.rows, lambda edge: edge.name)
    parts = [part_effects.PartScore(edge.name, effect) for edge, effect in exact.effects.items()]
    return (yield from part_effects.finished(context, ready, parts, exact.losses))


def _nodes(site_map: SiteMap, texts: list[str]) -> list[Site]:
    nodes = list(dict.fromkeys(map(parse, texts)))
    for node in nodes:
        site_map.check(node)
    return sorted(nodes, key=lambda node: (node.layer, node.name == "mlp_out", node.head))


KIND = Kind(
    name="path_patch",
    title="Path patching",
    question="What does one head tell another, and by its queries, keys or values?",
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
