"""Pictures of attention and circuits: well-formed, with every part in them, and hostile names as text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError

RESULT = {
    "heads_per_kv": 4,
    "nodes": [
        {"name": "L0H1", "layer": 0, "effect": 0.9},
        {"name": "L1H0", "layer": 1, "effect": -0.4},
        {"name": "L1 MLP", "layer": 1, "effect": 0.3},
    ],
    "edges": [
        {"name": "embed → L0KV0.v", "effect": 0.9},
        {"name": "L0H1 → L1KV0.v", "effect": 0.8},
        {"name": "L1H0 → L1 MLP", "effect": -0.2},
        {"name": "L1 MLP → logits", "effect": 0.3},
    ],
}


def test_attention_has_tokens_on_both_axes(tmp_path):
    svg = engine.plot_attention(torch.eye(3), tokens=["<b>", " cat", "\x1b"], output=tmp_path / "a.svg")
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("<b>") == 2 and texts.count("cat") == 2 and "\x1b" not in svg
    assert (tmp_path / "a.svg").read_text() == svg
    with pytest.raises(UserError, match="3 tokens"):
        engine.plot_attention(torch.zeros(2, 3, 3), tokens=["a", "b", "c"])


def test_a_circuit_is_drawn_from_its_result_or_its_finder(tmp_path):
    svg = engine.plot_circuit(RESULT, output=tmp_path / "c.html")
    tree = ElementTree.fromstring(svg)
    titles = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert "L0H1 → L1KV0.v: +0.800" in titles and "L1 MLP → logits: +0.300" in titles and len(titles) == 4
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")
    finder = engine.CircuitFinder(engine.load_model("builtin:tiny", device="cpu"), threshold=0.02)
    circuit = finder.find_circuit(["The capital of France is"], ["The capital of Japan is"])
    assert all(name in engine.plot_circuit(circuit) for name in ("embed", "logits", "L0H1"))


def test_a_place_that_cannot_be_written():
    with pytest.raises(UserError, match="cannot write"):
        engine.plot_circuit(RESULT, output="/nowhere/at/all.svg")


def test_a_picture_shows_itself_in_a_notebook_and_is_text_elsewhere():
    picture = engine.plot_attention(torch.eye(2), tokens=["a", "b"])
    assert picture.startswith("<svg") and isinstance(picture, str)
    assert picture._repr_svg_() == picture and type(picture._repr_svg_()) is str
    assert picture in picture._repr_html_()
