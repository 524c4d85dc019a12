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
from ...results.attribution_graph import LIVE, Attributed, AttributionGraphHeadline, AttributionGraphResult, GraphCase, GraphEdge, GraphNode
from ...runtime import cost
from ...runtime.context import Context
from ...uncertainty import Uncertainty
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
    built = graph.graph_of(report, coactivation=params.coactivation, similarity=params.similarity if params.similarity_edges else None)
    about: Attributed | None = None
    if params.prompts is not None:
        from .compute import attributed

        attributions, about = yield from attributed(context, params, params.metric or measured_by(report["cards"]), report["cards"])
        built["edges"] += attributions
        built["metadata"] |= about.as_json()
    folder = context.folder.path
    (folder / "figures").mkdir(exist_ok=True)
    atomic.write_json(folder / GRAPH, built)
    yield Artifact(GRAPH, "the graph, as interp-lab has it")
    atomic.write_text(folder / PICTURE, graph.svg(built))
    atomic.write_text(folder / PAGE, graph.html(built))
    yield Artifact(PAGE, "the graph as a page")
    nodes, edges = built["nodes"], built["edges"]
    for index, node in enumerate(nodes):
        own = [edge | {"weight": graph.weight(edge)} for edge in edges if node["id"] in (edge["source"], edge["target"])]
        strongest = sorted(own, key=lambda edge: -abs(edge["weight"]))[:50]
        # nodes and edges are as graph.json has them, which is interp-lab's own format
        yield Metrics("case", index, GraphCase(node=GraphNode(**node), edges=tuple(GraphEdge(**edge) for edge in strongest)).as_json())
    yield Progress(len(nodes), len(nodes), "nodes", 0.0)
    values = AttributionGraphResult(nodes=len(nodes), edges=len(edges), graph=GRAPH, picture=PICTURE, **built["metadata"])
    rows = [edge for edge in edges if edge["type"] == "attribution"]
    text = f"# attribution_graph · {manifest.name}\n\n{values.nodes} nodes, {values.edges} edges.\n\n![the graph]({PICTURE})\n"
    text += _table(rows, about, params.steps) if rows and about else ""
    headline = AttributionGraphHeadline(nodes=len(nodes), edges=len(edges), causal_effect=values.causal_effect)
    bars = _uncertainty(about) if rows and about else {}
    return Result(values.as_json(), headline.as_json(), text, {"graph": of_json([nodes, edges])}, bars)


def _uncertainty(about: Attributed) -> dict[str, Uncertainty]:
    by_kind = {"checked_criterion": about.checked_criterion, "checked_features": about.checked_features}
    return {
        f"{name}.correlation": of_correlation(checked.correlation, checked.edges, f"{checked.edges} edges checked")
        for name, checked in by_kind.items()
        if checked is not None and checked.edges
    }


def measured_by(cards: list[dict[str, Any]]) -> str:
    """The metric of the cards' interventions, where they agree on one that attribution has; else the difference of logits."""
    metrics = {(card.get("metadata") or {}).get("metric") for card in cards} - {None}
    metric = metrics.pop() if len(metrics) == 1 else None
    return metric if metric in ("logit_diff", "log_odds", "prob", "logprob") else METRIC


def _table(edges: list[dict[str, Any]], about: Attributed, steps: int) -> str:
    """The strongest attribution edges beside their exact effects."""
    lines = ["", f"Attribution edges: gradient (mean over {steps} points of the way to absent) × activation, mean over"]
    lines += [f"{about.prompts} prompts; exact: the source taken away. Edges to `{CRITERION}` are of the answer's"]
    lines += [f"`{about.metric}`, the others of the target's own activation.", ""]
    for checked, target in ((about.checked_criterion, f"to `{CRITERION}`"), (about.checked_features, "to features")):
        if checked is None or not checked.edges:
            continue
        r = f"correlate with r = {checked.correlation:.3f}" if checked.correlation is not None else "are too few or too equal for an r"
        lines += [f"- {checked.edges} edges {target} checked: the two {r}; {checked.opposed} have opposite signs."]
    if about.opposed:
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
    splittable=True,
)
