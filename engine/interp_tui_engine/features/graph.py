"""The attribution graph of a report: features, the criterion, what connects them; as JSON that interp-lab's users know, and as a picture.

Edges: `causal_effect` from a feature to the criterion where interventions measured one; `coactivation` between features that fire on the
same rows (correlation of their activation signatures); `fingerprint_similarity` between features that are alike; `attribution` from
feature to feature and to the criterion, where a model was run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float64

from . import matching

CRITERION = "criterion"
SCHEMA = "interp-lab.attribution_graph.v1"
WIDTH, ROW, TOP = 860, 30, 60
COLOURS = {"causal_effect": "#009e73", "coactivation": "#0072b2", "fingerprint_similarity": "#999999", "attribution": "#d55e00"}


def graph_of(report: Mapping[str, Any], *, coactivation: float, similarity: float | None) -> dict[str, Any]:
    """Nodes and edges of a report's cards. `coactivation` and `similarity` are the least values that make an edge; None makes none."""
    cards: Sequence[Mapping[str, Any]] = report["cards"]
    criterion = report.get("criterion") or {}
    nodes: list[dict[str, Any]] = [{"id": CRITERION, "type": "criterion", "label": criterion.get("text", ""), "model": report.get("model")}]
    nodes += [_node(card) for card in cards]
    edges = [edge for card in cards if (edge := _effect(card)) is not None]
    edges += _coactivations(cards, coactivation)
    if similarity is not None:
        edges += _similarities(cards, similarity)
    count = {kind: sum(edge["type"] == kind for edge in edges) for kind in COLOURS}
    return {
        "schema_version": SCHEMA,
        "model": report.get("model"),
        "criterion": criterion,
        "nodes": nodes,
        "edges": edges,
        "metadata": {"feature_count": len(cards), "coactivation_threshold": coactivation, "similarity_threshold": similarity, **count},
    }


def node_id(card: Mapping[str, Any]) -> str:
    """A feature's node: its model is part of it, since a graph may hold several."""
    return f"{card.get('model', '')}:{card['feature_id']}"


def _node(card: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("feature_id", "model", "layer", "label", "importance", "association", "causal_effect")
    return {"id": node_id(card), "type": "feature", **{key: card.get(key) for key in keys}}


def _effect(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """The edge from a feature to the criterion; only where interventions measured it."""
    effects: Mapping[str, Any] = card.get("causal_effects") or {}
    if not isinstance(effects.get("signed_causal_effect"), (int, float)):
        return None
    return {
        "source": node_id(card),
        "target": CRITERION,
        "type": "causal_effect",
        "effect": abs(float(effects["signed_causal_effect"])),
        "signed_effect": float(effects["signed_causal_effect"]),
        "specificity": effects.get("specificity"),
        "side_effect": effects.get("side_effect"),
        "strong_causal_score": effects.get("strong_causal_score"),
        "confidence_interval": {"low": effects.get("criterion_ci_low"), "high": effects.get("criterion_ci_high")},
        "record_count": int(effects.get("intervention_record_count") or 0),
    }


def correlations(cards: Sequence[Mapping[str, Any]]) -> Float64[np.ndarray, "cards cards"]:
    """Pearson's r between activation signatures of one length; NaN where two cannot be compared or one is constant."""
    matrix = np.full((len(cards), len(cards)), np.nan)
    by_length: dict[int, list[int]] = {}
    for place, card in enumerate(cards):
        by_length.setdefault(len(card.get("fingerprint", {}).get("activation_signature") or []), []).append(place)
    for length, places in by_length.items():
        if length < 3:
            continue
        rows = np.array([cards[place]["fingerprint"]["activation_signature"] for place in places], dtype=np.float64)
        rows -= rows.mean(1, keepdims=True)
        sizes = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = np.divide(rows, sizes, out=np.full_like(rows, np.nan), where=sizes > 0)
        matrix[np.ix_(np.array(places), np.array(places))] = unit @ unit.T
    return matrix


def _coactivations(cards: Sequence[Mapping[str, Any]], least: float) -> list[dict[str, Any]]:
    matrix = correlations(cards)
    edges = []
    for i, j in zip(*np.nonzero(np.triu(np.nan_to_num(np.abs(matrix)) >= least, 1)), strict=True):
        first, second = sorted((cards[i], cards[j]), key=lambda card: card.get("layer") or 0)  # from the earlier layer to the later
        edges.append({"source": node_id(first), "target": node_id(second), "type": "coactivation", "correlation": float(matrix[i, j])})
    return edges


def _similarities(cards: Sequence[Mapping[str, Any]], least: float) -> list[dict[str, Any]]:
    axes = matching.axes_of(cards)
    similar, _ = matching.similarity(axes, axes, matching.WEIGHTS)
    return [
        {"source": node_id(cards[i]), "target": node_id(cards[j]), "type": "fingerprint_similarity", "similarity": float(similar[i, j])}
        for i, j in zip(*np.nonzero(np.triu(np.nan_to_num(similar) >= least, 1)), strict=True)
    ]


def weight(edge: Mapping[str, Any]) -> float:
    """What an edge is drawn by: its effect, correlation or similarity; of an attribution what was measured, where it was."""
    keys = ("signed_effect", "correlation", "similarity", "exact", "attribution")
    return float(next((edge[key] for key in keys if edge.get(key) is not None), 0.0))


def svg(graph: Mapping[str, Any]) -> str:
    """A self-contained picture: features down the left by layer, the criterion at the right; a line's width is its weight's share."""
    features = sorted((node for node in graph["nodes"] if node["type"] == "feature"), key=lambda node: (node.get("layer") or 0, node["id"]))
    height = TOP + ROW * max(1, len(features)) + 20
    place = {node["id"]: (230.0, TOP + ROW * (index + 0.5)) for index, node in enumerate(features)}
    place[CRITERION] = (WIDTH - 250.0, TOP + ROW * max(1, len(features)) / 2)
    largest = {kind: max([abs(weight(edge)) for edge in graph["edges"] if edge["type"] == kind], default=1.0) or 1.0 for kind in COLOURS}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for number, (kind, colour) in enumerate(COLOURS.items()):
        left = 20 + 200 * number
        parts.append(
            f'<path d="M{left} 20h24" stroke="{colour}" stroke-width="3"/><text x="{left + 30}" y="24">{kind.replace("_", " ")}</text>'
        )
    for edge in graph["edges"]:
        (x1, y1), (x2, y2) = place[edge["source"]], place[edge["target"]]
        wide = 1 + 4 * abs(weight(edge)) / largest[edge["type"]]
        bend = (
            f"C{x1 + 120} {y1:.0f} {x2 - 120} {y2:.0f} {x2} {y2:.0f}"
            if x2 != x1
            else f"C{x1 + 140} {y1:.0f} {x1 + 140} {y2:.0f} {x2} {y2:.0f}"
        )
        dash = ' stroke-dasharray="5 4"' if weight(edge) < 0 else ""
        colour = COLOURS[edge["type"]]
        parts.append(f'<path d="M{x1} {y1:.0f}{bend}" fill="none" stroke="{colour}" stroke-width="{wide:.1f}" opacity=".7"{dash}>')
        parts.append(f"<title>{escape(edge['source'])} → {escape(edge['target'])}: {weight(edge):.3f}</title></path>")
    for node in features:
        x, y = place[node["id"]]
        parts.append(f'<text x="{x - 10}" y="{y + 4:.0f}" text-anchor="end">{escape(_cut(str(node["feature_id"]), 30))}</text>')
        parts.append(f'<circle cx="{x}" cy="{y:.0f}" r="4" fill="#222"/>')
    x, y = place[CRITERION]
    label = escape(_cut(str(graph["nodes"][0].get("label") or "criterion"), 36))
    parts.append(f'<circle cx="{x}" cy="{y:.0f}" r="6" fill="#d55e00"/><text x="{x + 12}" y="{y + 4:.0f}">{label}</text>')
    return "\n".join([*parts, "</svg>", ""])


def html(graph: Mapping[str, Any]) -> str:
    """A page with the picture and a table of the edges; it loads nothing."""
    rows = "".join(
        f"<tr><td>{escape(edge['source'])}</td><td>{escape(edge['target'])}</td><td>{escape(edge['type'])}</td><td>{weight(edge):.4f}</td></tr>"
        for edge in sorted(graph["edges"], key=lambda edge: -abs(weight(edge)))
    )
    title = escape(str(graph["nodes"][0].get("label") or "criterion"))
    style = "body{font-family:sans-serif;max-width:60rem;margin:2rem auto}td,th{padding:.15rem .8rem;text-align:left}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
    return f"{head}<h1>{title}</h1>{svg(graph)}<table><tr><th>from</th><th>to</th><th>kind</th><th>weight</th></tr>{rows}</table></html>\n"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
