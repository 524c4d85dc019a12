"""Circuits that were written into the weights come back exactly, edges included, by every method, with what they are worth."""

from __future__ import annotations

import pytest

from interp_tui_engine.circuits.finder import CircuitFinder
from interp_tui_engine.circuits.nodes import Behaviour
from references.known_circuits import KNOWN

EXACT = 0.02
"""Faithfulness of a circuit that is all there is: decoys stir the norms by no more."""


def found(known, ablation="interchange", **settings):
    finder = CircuitFinder(known.module, threshold=0.05, ablation=ablation, tokenizer=object(), **settings)
    behaviour = Behaviour(finder.site_map, known.examples, "logit_diff", ablation)
    return finder.find(behaviour, with_edges=True)


@pytest.mark.parametrize(
    "settings", [{"scope": "nodes"}, {"scope": "all"}, {"method": "eap_ig"}, {"method": "eap_ig_activations"}], ids=str
)
@pytest.mark.parametrize("name", KNOWN)
def test_a_known_circuit_comes_back_edge_by_edge(name, settings):
    known = KNOWN[name]()
    circuit = found(known, **settings)
    assert set(circuit.edges) == known.edges
    assert set(circuit.nodes) == {edge.sender for edge in known.edges if edge.sender.name != "embed"}
    assert circuit.faithfulness == pytest.approx(1, abs=EXACT) and circuit.completeness == pytest.approx(1, abs=EXACT)
    assert circuit.minimality == min(map(abs, circuit.edges.values())) >= 0.05
    assert set(circuit.edge_scores) == (known.edges if "method" in settings else set())


@pytest.mark.parametrize("name", ["induction", "look_up"])
def test_putting_means_in_place_finds_the_same(name):
    known = KNOWN[name]()
    assert set(found(known, "mean", scope="all").edges) == known.edges


def test_the_clean_gradient_alone_misses_what_attention_has_made_up_its_mind_about():
    """Why eap is no default: where attention is saturated, its gradient says that queries and keys do not matter."""
    known = KNOWN["two_hops"]()
    missing = known.edges - set(found(known, method="eap").edges)
    assert missing and all(edge.receiver.name in ("q", "k") for edge in missing)
