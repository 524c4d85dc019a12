"""Attribution graphs: edges by hand, the seed's keys, pictures that are well formed, reports that are none."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.features import graph

HOSTILE = "<script>alert(1)</script>&\"'"


def card(name: str, layer: int, signature: list[float], effect: float | None = None) -> dict[str, Any]:
    effects = {"signed_association": 0.5}
    if effect is not None:
        effects = {"signed_causal_effect": effect, "strong_causal_score": 0.1, "specificity": 0.2, "side_effect": 0.01}
        effects |= {"criterion_ci_low": effect - 0.1, "criterion_ci_high": effect + 0.1, "intervention_record_count": 8.0}
    fingerprint = {"activation_signature": signature, "text_vector": [1.0, 0.0], "causal_provenance": "none"}
    return {"feature_id": name, "model": "m", "layer": layer, "label": HOSTILE, "causal_effects": effects, "fingerprint": fingerprint}


REPORT = {
    "model": "m",
    "criterion": {"text": HOSTILE},
    "cards": [
        card("L3:D1", 3, [1.0, 2.0, 3.0, 5.0], -0.4),
        card("L1:D2", 1, [2.0, 4.0, 6.0, 10.0]),
        card("L1:D3", 1, [5.0, -1.0, 2.0, 0.0], 0.2),
        card("L1:D4", 1, [7.0, 7.0, 7.0, 7.0]),
        card("L1:D5", 1, [1.0, 2.0]),
    ],
}


def test_edges_by_hand() -> None:
    found = graph.graph_of(REPORT, coactivation=0.9, similarity=None)
    assert [node["id"] for node in found["nodes"]] == ["criterion", "m:L3:D1", "m:L1:D2", "m:L1:D3", "m:L1:D4", "m:L1:D5"]
    causal = [edge for edge in found["edges"] if edge["type"] == "causal_effect"]
    assert [(e["source"], e["target"], e["effect"], e["signed_effect"], e["record_count"]) for e in causal] == [
        ("m:L3:D1", "criterion", 0.4, -0.4, 8),
        ("m:L1:D3", "criterion", 0.2, 0.2, 8),
    ], "an association makes no causal edge"
    assert causal[0]["confidence_interval"] == {"low": pytest.approx(-0.5), "high": pytest.approx(-0.3)}
    (together,) = [edge for edge in found["edges"] if edge["type"] == "coactivation"]
    assert (together["source"], together["target"]) == ("m:L1:D2", "m:L3:D1"), "from the earlier layer to the later"
    assert together["correlation"] == pytest.approx(1.0)
    expected = np.corrcoef([c["fingerprint"]["activation_signature"] for c in REPORT["cards"][:3]])  # type: ignore[index]
    assert graph.correlations(REPORT["cards"])[:3, :3] == pytest.approx(expected)  # type: ignore[arg-type]


def test_similarity_edges_are_asked_for() -> None:
    found = graph.graph_of(REPORT, coactivation=1.0, similarity=0.99)
    pairs = [(e["source"], e["target"]) for e in found["edges"] if e["type"] == "fingerprint_similarity"]
    assert ("m:L3:D1", "m:L1:D2") in pairs and ("m:L3:D1", "m:L1:D3") not in pairs


def test_pictures_are_well_formed_and_run_nothing() -> None:
    found = graph.graph_of(REPORT, coactivation=0.9, similarity=0.5)
    root = ElementTree.fromstring(graph.svg(found))
    assert len(root.findall(".//{http://www.w3.org/2000/svg}title")) == len(found["edges"])
    assert "<script>" not in graph.html(found) and "<script>" not in graph.svg(found)


def test_the_kind(run_kind: Any, tmp_path: Any) -> None:
    result, _, folder = run_kind("attribution_graph", report="builtin:left", coactivation=0.3)
    written = atomic.read_json(folder.path / "graph.json")
    assert len(written["nodes"]) == result.values["nodes"] == 25 and len(written["edges"]) == result.values["edges"]
    assert written["metadata"]["causal_effect"] == 16
    again, _, _ = run_kind("attribution_graph", report="builtin:left", coactivation=0.3)
    assert again.digests == result.digests
    atomic.write_json(tmp_path / "r.json", {"cards": [3]})
    with pytest.raises(UserError, match="is no report with cards"):
        run_kind("attribution_graph", report="r.json")
