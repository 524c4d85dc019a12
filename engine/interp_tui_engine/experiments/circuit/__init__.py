"""Circuit discovery: which heads and MLPs a behaviour needs, and which of their connections carry it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...catalog import Estimate, Kind, Result
from ...circuits.methods import no_gradient
from ...errors import Problem
from ...events import Artifact, Event, Metrics
from ...figures.plots import plot_circuit
from ...manifest import Manifest
from ...patching import reach_report
from ...payload import LEFT_OUT
from ...results.circuit import LIVE, CircuitCell, CircuitEdge, CircuitHeadline, CircuitNode, CircuitResult, EdgeEffect
from ...runtime import cost
from ...runtime.context import Context
from ...runtime.steps import digests, write_arrays
from .. import _pairs
from .._pairs import part_effects
from . import report as circuit_report
from . import search as circuit_search
from .one_search import START
from .params import MANY_EDGES, Params

if TYPE_CHECKING:
    from ...circuits.circuit import Circuit
    from ...circuits.prepared import Node
    from ...sites.site_map import SiteMap

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {**_pairs.FACTS, "threshold": 0.02},
}
STORE = "circuit.zarr"
NODES_KEPT = 25
"""Nodes of a circuit, for estimates."""
ROLE_LENGTH = 24
"""Random tokens that are said twice, to see what heads do."""


def check(manifest: Manifest) -> list[Problem]:
    """Prompts missing, and answers that cannot be scored here."""
    problems = _pairs.check_pairs(manifest)
    if manifest.params.long_answers == "sequence":
        problems.append(
            Problem("params.long_answers", "a circuit is found for one next token; use 'first'", value="sequence", suggestion="first")
        )
    metric = manifest.params.metric
    if why := no_gradient(getattr(manifest.params, "method", "acdc"), metric):
        problems.append(Problem("params.metric", f"{why}; use 'logit_diff'", value=metric, suggestion="logit_diff"))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass for each pair and part that is tried; blocks before a part, and those nobody listens to, are not run."""
    params: Params = manifest.params
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    nodes = max(36, round((size.parameters / 1e5) ** 0.8))
    pairs, tokens = _pairs.pairs_given(params)
    edges = {"all": nodes * nodes, "nodes": 3 * NODES_KEPT * NODES_KEPT}[params.scope] if params.method == "acdc" else params.most_edges
    passes = pairs * (nodes if params.level == "node" else min(edges, nodes * nodes) + (nodes if params.scope == "nodes" else 0))
    again = 2 if params.halves and pairs > 1 else 1
    passes *= again
    kept = 4 * nodes * tokens * round((size.parameters / nodes) ** 0.5)
    notes = (*size.notes, f"about {passes:,} passes of part of the model over {pairs} pairs")
    if again > 1:
        notes = (*notes, "half of them to find it again on halves of the pairs; halves = false leaves that out")
    if params.level == "edge" and edges > MANY_EDGES and params.method == "acdc":
        notes = (*notes, f"acdc tries each of about {edges:,} edges; method = 'eap_ig' would try the {params.most_edges:,} strongest")
    memory = cost.BASE_BYTES + 6 * size.parameters + 2 * pairs * kept + (512 << 20 if params.level == "edge" else 0)
    return Estimate(cost.seconds(size.parameters * tokens * passes), memory, 1 << 20, notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Cut part by part from the logits on; a part that is decided is not decided again after a kill."""
    params = context.manifest.params
    assert isinstance(params, Params)
    ready = yield from part_effects.ready(context, params.ablation)
    behaviour = ready.behaviour
    search = yield from circuit_search.search(context, behaviour)
    roles = _roles(context, search.circuit, behaviour.site_map)
    nodes, edges = _nodes(search.circuit, roles), _edges(search.circuit)
    held_out, random = circuit_report.held_out(search.held_out), circuit_report.random_circuits(search.random)
    whole = CircuitCell(
        circuit=nodes,
        edges=tuple(EdgeEffect(edge=edge.name, effect=edge.effect) for edge in edges),
        heads_per_kv=search.circuit.heads_per_kv,
        held_out=held_out,
        random=random.mean,
    )
    yield Metrics("cells", 2 * START, whole.as_json())
    arrays: dict[str, Any] = {
        "node_effect": (("node",), np.array([node.effect for node in nodes], np.float32)),
        "edge_effect": (("edge",), np.array([edge.effect for edge in edges], np.float32)),
    }
    attrs = {"nodes": [node.name for node in nodes], "edges": [edge.name for edge in edges]}
    yield from write_arrays(context.folder.path, STORE, arrays, attrs)
    values = CircuitResult(
        level=search.circuit.level,
        method=params.method,
        nodes=nodes,
        edges=edges,
        faithfulness=search.circuit.faithfulness,
        completeness=search.circuit.completeness,
        minimality=search.circuit.minimality,
        held_out=held_out,
        random=random,
        stability=None if search.held_out is None else search.held_out.overlap,
        stability_resampled=search.resampled,
        clean_metric=search.circuit.clean_metric,
        empty_metric=search.circuit.empty_metric,
        pairs=len(ready.reaches.each),
        reach=ready.reaches.stated(),
        parts=search.considered,
        tried=search.tried,
        correlation=search.correlation,
        heads_per_kv=search.circuit.heads_per_kv,
        seconds=time.monotonic() - ready.started,
    )
    (context.folder.path / "figures").mkdir(exist_ok=True)
    pictures = (("circuit.svg", "the circuit"), ("circuit.html", "the circuit, as a page that names each edge under the pointer"))
    for name, title in pictures:
        plot_circuit(values.as_json(), context.folder.path / "figures" / name, f"circuit: {context.manifest.name}")
        yield Artifact(f"figures/{name}", title)
    headline = CircuitHeadline(
        nodes=len(nodes),
        edges=len(edges) if params.level == "edge" else LEFT_OUT,
        faithfulness=values.faithfulness,
        held_out=LEFT_OUT if search.held_out is None else search.held_out.share.value,
        completeness=values.completeness,
        verdict=reach_report.verdict(ready.reaches) or LEFT_OUT,
    )
    report = circuit_report.report(params, values, ready.reaches)
    bars = circuit_report.uncertainty(search, ready.reaches)
    return Result(values.as_json(), headline.as_json(), report, digests(STORE, arrays), bars)


class HeadRole(NamedTuple):
    """What a head does on repeated random tokens: its name where a score is high, and its scores."""

    name: str | None
    scores: dict[str, float]


def _roles(context: Context, circuit: Circuit, site_map: SiteMap) -> dict[Node, HeadRole]:
    """What the circuit's heads do on repeated random tokens: their scores, and their name where one is high."""
    from ...circuits.heads import SCORES, head_scores

    heads = [node for node in circuit.nodes if node.head is not None and node.layer is not None]
    if not heads or "attn_pattern" not in site_map.blocks[0].ports:
        return {}
    wanted = {(node.layer or 0, node.head or 0) for node in heads}
    vocab = int(site_map.embed.weight.shape[0])  # type: ignore[index]
    scores = head_scores(site_map, vocab, length=ROLE_LENGTH, rows=4, seed=context.manifest.seed, copies_of=wanted)
    return {
        node: HeadRole(
            scores.name_of(node.layer or 0, node.head or 0),
            {name: float(getattr(scores, name)[node.layer, node.head]) for name in SCORES},
        )
        for node in heads
    }


def _nodes(circuit: Circuit, roles: Mapping[Node, HeadRole]) -> tuple[CircuitNode, ...]:
    from ...circuits.nodes import node_name

    return tuple(
        CircuitNode(
            name=node_name(node),
            layer=node.layer,
            head=node.head,
            effect=circuit.node_effects[node],
            estimate=circuit.scores.get(node),
            role=roles[node].name if node in roles else LEFT_OUT,
            scores=roles[node].scores if node in roles else LEFT_OUT,
        )
        for node in circuit.nodes
    )


def _edges(circuit: Circuit) -> tuple[CircuitEdge, ...]:
    """The strongest first."""
    ordered = sorted(circuit.edges.items(), key=lambda item: -abs(item[1]))
    return tuple(CircuitEdge(name=edge.name, effect=effect, estimate=circuit.edge_scores.get(edge)) for edge, effect in ordered)


KIND = Kind(
    name="circuit",
    title="Circuit",
    question="Which heads and MLPs does a behaviour need, and what do they tell each other?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=CircuitResult,
    headline=CircuitHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
