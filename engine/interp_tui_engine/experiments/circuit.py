"""Circuit discovery: which heads and MLPs a behaviour needs, and which of their connections carry it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem
from ..events import Artifact, Event, Metrics, Phase, RunStarted
from ..manifest import Manifest
from ..plots import plot_circuit
from . import _cost, _pairs
from ._steps import Numbers, Steps, digest, write_arrays
from .context import Context

if TYPE_CHECKING:
    from ..circuits.finder import Circuit

TITLE = "Circuit"
QUESTION = "Which heads and MLPs does a behaviour need, and what do they tell each other?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {**_pairs.FACTS, "threshold": 0.02},
}
STORE = "circuit.zarr"


class Params(_pairs.PairParams):
    """Which behaviour, how it is taken apart, and how much a part must matter to stay."""

    method: Literal["acdc", "eap_ig"] = Field(
        "acdc", description="ablate node by node, or drop what integrated gradients hold for nothing first"
    )
    ablation: Literal["interchange", "mean", "zero"] = Field("interchange", description="what takes an ablated node's place")
    threshold: float = Field(0.02, gt=0, lt=1, description="share of the behaviour a node or edge must carry to stay")
    level: Literal["node", "edge"] = Field("edge", description="stop at nodes, or measure the edges between them too")
    resamples: int = Field(200, ge=10, description="bootstrap resamples of the pairs for stability")


def check(manifest: Manifest) -> list[Problem]:
    """Prompts missing, and answers that cannot be scored here."""
    problems = _pairs.check_pairs(manifest)
    if manifest.params.long_answers == "sequence":
        problems.append(
            Problem("params.long_answers", "a circuit is found for one next token; use 'first'", value="sequence", suggestion="first")
        )
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass for each node, several for what is kept."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    nodes = max(36, round((size.parameters / 1e5) ** 0.8))
    notes = (*size.notes, "for one pair of short prompts")
    return Estimate(_cost.seconds(6 * size.parameters * nodes * 6), _cost.BASE_BYTES + 6 * size.parameters, 1 << 20, notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Ablate node by node from the last layer on; a node that is decided is not decided again after a kill."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, Params)
    model, anatomy = yield from _pairs.loaded(manifest)
    from ..circuits import finder
    from ..circuits.attribution import attribution
    from ..circuits.nodes import Behaviour, Example, Node, node_name
    from ..sites.answers import Answer

    pairs = _pairs.read_pairs(params, _pairs.records_of(params), model, anatomy)
    yield RunStarted(manifest.kind, manifest.name, device=str(model.device), resumed=context.resumed, provenance=_pairs.provenance(model))
    yield Phase("running both prompts", f"{len(pairs)} pairs")
    examples = [Example(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual)) for pair in pairs]
    behaviour = Behaviour(anatomy, examples, params.metric, params.ablation)
    finder.check_behaviour(behaviour)
    reach = behaviour.whole - behaviour.empty
    scores: dict[Node, float] = {}
    candidates = list(behaviour.nodes)
    if params.method == "eap_ig":
        yield Phase("attributing", "integrated gradients")
        scores = attribution(behaviour, steps=finder.STEPS)
        candidates = finder.worth_checking(behaviour, scores, params.threshold)
    yield Phase("ablating", f"{len(candidates)} nodes")
    kept, faith = set(candidates), behaviour.faithfulness(candidates)

    def do(node: Node) -> Numbers:
        value = behaviour.faithfulness(kept - {node})
        return np.array([faith - value, value], np.float32)

    def say(index: int, node: Node, numbers: Numbers) -> list[Event]:
        nonlocal kept, faith
        stays = bool(abs(numbers[0]) >= params.threshold)
        if not stays:
            kept, faith = kept - {node}, float(numbers[1])
        values = {"node": node_name(node), "layer": node.layer, "head": node.head, "loss": float(numbers[0]), "kept": stays}
        told = {**values, "faithfulness": faith, "clean_metric": behaviour.whole, "empty_metric": behaviour.empty}
        return [Metrics("cells", index, told), Metrics("headline", index, {"nodes": len(kept), "faithfulness": faith})]

    yield from Steps(context, candidates[::-1], unit="nodes", size=lambda _: 1).run(do, say)
    nodes = [node for node in behaviour.nodes if node in kept]
    yield Phase("measuring", f"{len(nodes)} nodes{' and their edges' if params.level == 'edge' else ''}")
    found = finder.describe(behaviour, nodes, params.threshold, scores, with_edges=params.level == "edge")
    stable = finder.stability(behaviour, nodes, params.threshold, resamples=params.resamples, seed=manifest.seed)
    values = _values(found, stable, reach)
    edges = [{"edge": row["name"], "effect": row["effect"]} for row in values["edges"]]
    yield Metrics("cells", len(candidates), {"circuit": values["nodes"], "edges": edges})
    arrays: dict[str, Any] = {"node_effect": (("node",), np.array([row["effect"] for row in values["nodes"]], np.float32))}
    arrays["edge_effect"] = (("edge",), np.array([row["effect"] for row in values["edges"]], np.float32))
    attrs = {"nodes": [row["name"] for row in values["nodes"]], "edges": [row["name"] for row in values["edges"]]}
    yield from write_arrays(context.folder.path, STORE, arrays, attrs)
    (context.folder.path / "figures").mkdir(exist_ok=True)
    plot_circuit(values, context.folder.path / "figures" / "circuit.svg", f"circuit: {manifest.name}")
    yield Artifact("figures/circuit.svg", "the circuit")
    values["seconds"] = time.monotonic() - started
    headline = {"nodes": len(nodes), "faithfulness": found.faithfulness, "completeness": found.completeness}
    return Result(values, headline, _report(params, found, values), {f"{STORE}/{name}": digest(a) for name, (_, a) in arrays.items()})


def _values(found: Circuit, stable: float | None, reach: float) -> dict[str, Any]:
    from ..circuits.nodes import node_name

    return {
        "nodes": [
            {
                "name": node_name(n),
                "layer": n.layer,
                "head": n.head,
                "effect": found.node_effects[n],
                "eap_ig": _over(found.scores.get(n), reach),
            }
            for n in found.nodes
        ],
        "edges": [{"name": edge.name, "effect": effect} for edge, effect in sorted(found.edges.items(), key=lambda item: -abs(item[1]))],
        "faithfulness": found.faithfulness,
        "completeness": found.completeness,
        "minimality": found.minimality,
        "stability": stable,
        "clean_metric": found.clean_metric,
        "empty_metric": found.empty_metric,
        "heads_per_kv": found.heads_per_kv,
    }


def _over(score: float | None, reach: float) -> float | None:
    return None if score is None else score / reach


def _report(params: Params, found: Circuit, values: dict[str, Any]) -> str:
    stable = values["stability"]
    said = f", stability over pairs {stable:.2f}" if stable is not None else ""
    lines = [
        "# Circuit",
        "",
        f"**{len(found.nodes)} nodes**: faithfulness {found.faithfulness:.3f}, completeness {found.completeness:.3f}, "
        f"minimality {found.minimality:.3f}{said}.",
        "",
        f"{params.metric} {found.clean_metric:.4g} with all nodes, {found.empty_metric:.4g} with none ({params.ablation} ablation); "
        f"a node stays if the circuit changes by {params.threshold:.0%} of that without it.",
        "",
        "![the circuit](figures/circuit.svg)",
        "",
        "| node | lost without it |",
        "|---|---:|",
        *(f"| {row['name']} | {row['effect']:+.3f} |" for row in sorted(values["nodes"], key=lambda row: -abs(row["effect"]))),
    ]
    if values["edges"]:
        lines += ["", "| edge | lost when it alone is cut |", "|---|---:|"]
        lines += [f"| {row['name']} | {row['effect']:+.3f} |" for row in values["edges"]]
    return "\n".join([*lines, ""])
