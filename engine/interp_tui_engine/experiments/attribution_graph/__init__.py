"""The graph of a report: which features cause the criterion, which fire together, which are alike."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ... import atomic
from ...catalog import Estimate, Kind, Result
from ...circuits.ratio import of_correlation
from ...digests import of_json
from ...errors import Problem
from ...events import Artifact, Event, Metrics, Phase, Progress, RunStarted
from ...manifest import Manifest
from ...markdown import code
from ...results.attribution_graph import LIVE, AttributionGraphHeadline, AttributionGraphResult
from ...runtime import cost
from ...runtime.context import Context
from .. import _features
from .._features.evidence_files import file_of
from .params import Params

TOY = "builtin:left"
EXAMPLE: dict[str, Any] = {"name": "planted", "params": {"report": TOY}}
CRITERION = "criterion"
GRAPH, PICTURE, PAGE = "graph.json", "figures/graph.svg", "graph.html"
METRIC = "logit_diff"


def check(manifest: Manifest) -> list[Problem]:
    """A planted report that does not exist."""
    params: Params = manifest.params
    problems = []
    if params.report.startswith("builtin:") and params.report != TOY:
        problems.append(Problem("params.report", f"{params.report!r} is not there; {TOY} is", value=params.report))
    if params.prompts is None:
        for name in ("sae", "directions", "answers"):
            if getattr(params, name):
                problems.append(Problem(f"params.{name}", "is given, but there are no params.prompts to run", value=getattr(params, name)))
        return problems or _features.check_report(params)
    if manifest.model is None:
        problems.append(Problem("model", "is missing; params.prompts are run on it for attribution edges"))
    return problems + _features.check(manifest)


def estimate(manifest: Manifest) -> Estimate:
    """The report is read in seconds; with a model, passes forward and back for each step of each prompt, one for an edge."""
    params: Params = manifest.params
    if params.prompts is None:
        return Estimate(cost.START_WITHOUT_TORCH, 200 << 20, 1 << 20)
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    passes = 2 * params.most_prompts * (3 * params.steps * (1 + params.top) + params.exact)
    return Estimate(cost.seconds(2.0 * size.parameters * 16 * passes), cost.memory(size.parameters, 1024), 4 << 20, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read, connect, attribute, draw. What was attributed before a kill is not done again."""
    from ...features import graph

    params, manifest = context.manifest.params, context.manifest
    device = manifest.model.device if manifest.model is not None and params.prompts is not None else "cpu"
    yield RunStarted("attribution_graph", manifest.name, device=device, resumed=context.resumed)
    yield Phase("reading the report")
    report = _report(params.report, manifest.seed)
    report = {**report, "cards": report["cards"][: params.top]}
    found = graph.graph_of(report, coactivation=params.coactivation, similarity=params.similarity if params.similarity_edges else None)
    if params.prompts is not None:
        from .compute import attributed

        edges, about = yield from attributed(context, params, params.metric or measured_by(report["cards"]), report["cards"])
        found["edges"] += edges
        found["metadata"] |= about
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
    digest = of_json([found["nodes"], found["edges"]])
    rows = [edge for edge in found["edges"] if edge["type"] == "attribution"]
    text = f"# attribution_graph · {manifest.name}\n\n{values['nodes']} nodes, {values['edges']} edges.\n\n![the graph]({PICTURE})\n"
    text += _table(rows, values, params.steps) if rows else ""
    uncertainty = {
        f"{name}.correlation": of_correlation(values[name]["correlation"], values[name]["edges"], f"{values[name]['edges']} edges checked")
        for name in ("checked_criterion", "checked_features")
        if rows and values[name]["edges"]
    }
    headline = {name: values[name] for name in ("nodes", "edges", "causal_effect")}
    return Result(values, headline, text, {"graph": digest}, uncertainty)


def measured_by(cards: list[dict[str, Any]]) -> str:
    """The metric of the cards' interventions, where they agree on one that attribution has; else the difference of logits."""
    found = {(card.get("metadata") or {}).get("metric") for card in cards} - {None}
    metric = found.pop() if len(found) == 1 else None
    return metric if metric in ("logit_diff", "log_odds", "prob", "logprob") else METRIC


def _table(edges: list[dict[str, Any]], values: dict[str, Any], steps: int) -> str:
    """The strongest attribution edges beside their exact effects."""
    lines = ["", f"Attribution edges: gradient (mean over {steps} points of the way to absent) × activation, mean over"]
    lines += [f"{values['prompts']} prompts; exact: the source taken away. Edges to `{CRITERION}` are of the answer's"]
    lines += [f"`{values['metric']}`, the others of the target's own activation.", ""]
    for name, said in (("criterion", f"to `{CRITERION}`"), ("features", "to features")):
        found = values[f"checked_{name}"]
        if not found["edges"]:
            continue
        r = f"correlate with r = {found['correlation']:.3f}" if found["correlation"] is not None else "are too few or too equal for an r"
        lines += [f"- {found['edges']} edges {said} checked: the two {r}; {found['opposed']} have opposite signs."]
    if values["opposed"]:
        lines += ["", "A gradient speaks of small changes: where the two differ the exact effect holds, and edges are drawn by it."]
        if steps == 1:
            lines += ["One point, of all features present, says little where the metric is flat: raise `steps`."]
        else:
            lines += ["The way takes all features away together, the exact effect one alone: more `steps` do not bring these two together."]
    lines += [""]
    lines += ["| from | to | gradient × activation | exact |", "|---|---|---:|---:|"]
    for edge in edges[:40]:
        exact = "–" if edge["exact"] is None else f"{edge['exact']:.4f}"
        lines.append(f"| `{code(edge['source'])}` | `{code(edge['target'])}` | {edge['attribution']:.4f} | {exact} |")
    return "\n".join([*lines, ""])


def _report(source: str, seed: int) -> dict[str, Any]:
    if source == TOY:
        from ...features.synthetic import CRITERION, MODEL, twins

        planted, _, _ = twins(seed, features=24, shared=16, noise=0.5)
        return {"model": MODEL, "criterion": {"text": CRITERION}, "cards": planted}
    from ...features.cards import read_report

    return read_report(file_of(source, "report"))


KIND = Kind(
    name="attribution_graph",
    title="Attribution graph",
    question="How do these features hang together, and which of them bring the criterion about?",
    group="Features",
    needs=frozenset(),
    example=EXAMPLE,
    params=Params,
    result=AttributionGraphResult,
    headline=AttributionGraphHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
