"""The graph of a report: which features cause the criterion, which fire together, which are alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from typing import Any

from pydantic import Field

from .. import atomic
from ..catalog import Group, Result
from ..errors import Problem
from ..events import Artifact, Event, Metrics, Phase, Progress, RunStarted
from ..manifest import Manifest
from ..specs import FILE, Table
from ._evidence import file_of
from .context import Context

TITLE = "Attribution graph"
QUESTION = "How do these features hang together, and which of them bring the criterion about?"
GROUP: Group = "Features"
NEEDS: frozenset[str] = frozenset()
TOY = "builtin:left"
EXAMPLE: dict[str, Any] = {"name": "planted", "params": {"report": TOY}}
GRAPH, PICTURE, PAGE = "graph.json", "figures/graph.svg", "graph.html"
COACTIVE, ALIKE = 0.5, 0.9


class Params(Table):
    """Whose report, and which edges."""

    report: str = Field(
        min_length=1, json_schema_extra=FILE, description="an inspect run or its report.json; builtin:left is a planted one"
    )
    coactivation: float = Field(COACTIVE, ge=0.0, le=1.0, description="least |correlation| of two features' activations for an edge")
    similarity_edges: bool = Field(True, description="edges between features whose fingerprints are alike")
    similarity: float = Field(ALIKE, ge=0.0, le=1.0, description="least similarity of two fingerprints for an edge")
    top: int = Field(30, ge=1, description="how many of the report's cards")


def check(manifest: Manifest) -> list[Problem]:
    """A planted report that does not exist."""
    source = manifest.params.report
    if source.startswith("builtin:") and source != TOY:
        return [Problem("params.report", f"{source!r} is not there; {TOY} is", value=source)]
    return []


def run(context: Context) -> Generator[Event, None, Result]:
    """Read, connect, draw. Takes a moment: begun anew after a kill."""
    from ..features import graph

    params, manifest = context.manifest.params, context.manifest
    yield RunStarted("attribution_graph", manifest.name, device="cpu", resumed=context.resumed)
    yield Phase("reading the report")
    report = _report(params.report, manifest.seed)
    report = {**report, "cards": report["cards"][: params.top]}
    found = graph.graph_of(report, coactivation=params.coactivation, similarity=params.similarity if params.similarity_edges else None)
    folder = context.folder.path
    (folder / "figures").mkdir(exist_ok=True)
    atomic.write_json(folder / GRAPH, found)
    yield Artifact(GRAPH, "the graph, as interp-lab has it")
    atomic.write_text(folder / PICTURE, graph.svg(found))
    atomic.write_text(folder / PAGE, graph.html(found))
    yield Artifact(PAGE, "the graph as a page")
    for index, node in enumerate(found["nodes"]):
        own = [edge | {"weight": graph.weight(edge)} for edge in found["edges"] if node["id"] in (edge["source"], edge["target"])]
        yield Metrics("case", index, {"node": node, "edges": sorted(own, key=lambda edge: -abs(edge["weight"]))[:50]})
    yield Progress(len(found["nodes"]), len(found["nodes"]), "nodes", 0.0)
    values = {"nodes": len(found["nodes"]), "edges": len(found["edges"]), "graph": GRAPH, "picture": PICTURE, **found["metadata"]}
    digest = hashlib.sha256(json.dumps([found["nodes"], found["edges"]], sort_keys=True).encode()).hexdigest()
    text = f"# attribution_graph · {manifest.name}\n\n{values['nodes']} nodes, {values['edges']} edges.\n\n![the graph]({PICTURE})\n"
    return Result(values, {"nodes": values["nodes"], "edges": values["edges"]}, text, {"graph": digest})


def _report(source: str, seed: int) -> dict[str, Any]:
    if source == TOY:
        from ..features.planted import CRITERION, MODEL, twins

        planted, _, _ = twins(seed, features=24, shared=16, noise=0.5)
        return {"model": MODEL, "criterion": {"text": CRITERION}, "cards": planted}
    from ..features.cards import read_report

    return read_report(file_of(source, "report"))
