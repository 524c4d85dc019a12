"""interp-lab counts layers by hidden states, we by blocks: its reports are about the layers that it means, under its own names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Warned
from interp_tui_engine.features import interventions, prompts
from interp_tui_engine.features.layer_convention import as_given, convention_of, in_blocks, remark
from interp_tui_engine.features.prompts import Prompt
from interp_tui_engine.models.load import load_model

TINY = {"model": {"source": "builtin:tiny", "revision": "final"}}
PROMPTS = [
    Prompt("The capital of France is", 1.0, "France", {"answer": " Paris", "wrong": [" Rome"]}),
    Prompt("The capital of Japan is", 1.0, "Japan", {"answer": " Tokyo", "wrong": [" Rome"]}),
    Prompt("The color of grass is", 0.0, "grass", {"answer": " green", "wrong": [" red"]}),
]


def card(name: str, **more: Any) -> dict[str, Any]:
    """A card as interp-lab's report has it, as far as it is read here."""
    fingerprint: dict[str, Any] = {"activation_signature": [], "decoder_signature": [], "text_vector": [], "causal_vector": []}
    about = {"layer": 2, "label": name, "source": "hf-hidden-state", "metadata": {}, "fingerprint": fingerprint}
    return {"feature_id": name, "model": "builtin:tiny", **about, **more}


@pytest.mark.parametrize(
    ("cards", "convention"),
    [
        ([card("L2:D95")], "hidden_state_index"),
        ([card("L2:D95", source="activation-records")], "block"),
        ([card("L2:D95", source="activation-records", metadata={"layer_convention": "hidden_state_index"})], "hidden_state_index"),
        ([card("L2:D95", metadata={"layer_convention": "block"})], "block"),
        ([], "block"),
    ],
)
def test_a_report_says_how_it_counts(cards: list[dict[str, Any]], convention: str) -> None:
    assert convention_of(cards) == convention


def test_reports_that_count_in_two_ways_or_in_an_unknown_one_are_refused() -> None:
    with pytest.raises(UserError, match="count layers in two ways"):
        convention_of([card("L2:D95"), card("L2:D96", source="activation-records")])
    with pytest.raises(UserError, match="layer_convention = 'one-based'"):
        convention_of([card("L2:D95", metadata={"layer_convention": "one-based"})])


@pytest.mark.parametrize(
    ("theirs", "ours"), [("L2:D95", "L1:D95"), ("SAE:L12:F3", "SAE:L11:F3"), ("direction:contrast:L1:l2-x", "direction:contrast:L0:l2-x")]
)
def test_names_are_translated_and_back(theirs: str, ours: str) -> None:
    assert in_blocks(theirs, "hidden_state_index") == ours and as_given(ours, "hidden_state_index") == theirs
    assert in_blocks(theirs, "block") == as_given(theirs, "block") == theirs


def test_the_embedding_is_the_output_of_no_block() -> None:
    with pytest.raises(UserError, match="hidden state 0, the embedding"):
        in_blocks("L0:D3", "hidden_state_index")


def test_its_last_layer_is_read_after_the_final_norm_which_is_said() -> None:
    assert len(remark("hidden_state_index", 3, [1, 2])) == 1
    assert "its L4 was read after the final norm" in remark("hidden_state_index", 3, [3])[1]
    assert remark("block", 3, [3]) == []


REPORT = {"schema_version": "interp-lab.inspection_report.v1", "model": "builtin:tiny", "criterion": {"text": "c"}}
REQUEST = {"tables": TINY, "criterion": "c", "prompts": "p.jsonl", "to": "zero", "metric": "logprob", "plain_rows": 0}


def test_its_report_changes_the_layer_and_the_tokens_that_it_means(run_kind: Any, tmp_path: Path) -> None:
    """L2:D95 set to 0 at every token is block 1's output, as a hook of torch's own shows; names in and out are interp-lab's."""
    prompts.write(tmp_path / "p.jsonl", PROMPTS)
    atomic.write_json(tmp_path / "report.json", {**REPORT, "cards": [card("L2:D95")]})
    _, events, folder = run_kind("interventions", report="report.json", controls=["random"], draws=1, **REQUEST)
    rows = interventions.read(folder.path / "interventions.jsonl")
    own = next(row for row in rows if row.prompt_id == "France" and row.control is None)
    assert own.feature_id == "L2:D95" and own.metadata["layer_convention"] == "hidden_state_index" and own.metadata["positions"] == "all"
    assert all(row.metadata["changed"].startswith("L2:") for row in rows if row.control is not None)
    assert own.changed == pytest.approx(_hooked(1, 95, slice(None)), abs=1e-4)
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert any("by hidden states: its L2 is the output of block 1" in message for message in warned)
    assert any("ablated at every token" in message for message in warned)

    last = _hooked(1, 95, -1)
    assert abs(last - own.changed) > 1e-3, "the two differ"
    stated = {"targets": ["L2:D95"], "layer_convention": "hidden_state_index"}
    for asked, expected in (
        ({"report": "report.json", "positions": "last"}, last),
        (stated, own.changed),
        ({**stated, "positions": "last"}, last),
        ({"targets": ["L1:D95"]}, last),
        ({"targets": ["L1:D95"], "positions": "all"}, own.changed),
    ):
        _, _, again = run_kind("interventions", controls=[], **asked, **REQUEST)
        row = next(row for row in interventions.read(again.path / "interventions.jsonl") if row.prompt_id == "France")
        assert row.changed == pytest.approx(expected, abs=1e-4), asked


@pytest.mark.parametrize("metric", ["sequence", "kl"])
def test_a_change_at_every_token_is_measured_by_any_metric(run_kind: Any, tmp_path: Path, metric: str) -> None:
    """And with it the first token's stream moves, so that the answers do otherwise than at the last token alone."""
    prompts.write(tmp_path / "p.jsonl", PROMPTS)
    changed = {}
    for positions in ("last", "all"):
        request = {**REQUEST, "metric": metric, "targets": ["L1:D95"], "positions": positions, "controls": ["matched_norm"], "draws": 2}
        _, _, folder = run_kind("interventions", **request)
        changed[positions] = [row.changed for row in interventions.read(folder.path / "interventions.jsonl")]
    assert len(changed["all"]) == len(changed["last"]) == 6 and changed["all"] != changed["last"]


def _hooked(block: int, dimension: int, tokens: Any) -> float:
    """Log-probability of Paris with one dimension of a block's output at these tokens set to 0."""
    model = load_model("builtin:tiny", revision="final", device="cpu")
    assert model.tokenizer is not None

    def zero(module: Any, inputs: Any, output: Any) -> Any:
        resid = (output[0] if isinstance(output, tuple) else output).clone()
        resid[:, tokens, dimension] = 0.0
        return (resid, *output[1:]) if isinstance(output, tuple) else resid

    handle = model.module.model.layers[block].register_forward_hook(zero)
    ids = torch.tensor([model.tokenizer("The capital of France is", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        log_p = model.module(ids).logits[0, -1].log_softmax(-1)
    handle.remove()
    return float(log_p[model.tokenizer(" Paris", add_special_tokens=False)["input_ids"][0]])


def test_an_inspection_of_its_records_passes_the_convention_on(run_kind: Any, tmp_path: Path) -> None:
    lines = []
    for index in range(40):
        feature = {"feature_id": "L2:D95", "activation": index / 40, "layer": 2, "layer_convention": "hidden_state_index"}
        row = {
            "model": "builtin:tiny",
            "criterion_score": float(index >= 20),
            "prompt_id": str(index),
            "text": f"text {index}",
            "features": [feature],
        }
        lines.append(json.dumps(row))
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    _, _, folder = run_kind("inspect", criterion="c", backend="records", records=["records.jsonl"])
    found = atomic.read_json(folder.path / "report.json")["cards"]
    assert convention_of(found) == "hidden_state_index" and found[0]["feature_id"] == "L2:D95"


def test_the_graph_of_its_report_has_the_edges_of_the_layers_it_means(run_kind: Any, tmp_path: Path) -> None:
    prompts.write(tmp_path / "p.jsonl", PROMPTS)
    weights = {}
    for name, names, source in (("theirs", ("L2:D95", "L3:D30"), "hf-hidden-state"), ("ours", ("L1:D95", "L2:D30"), "activation-records")):
        cards = [card(feature, source=source, association=0.5, importance=0.5, causal_effect=0.0) for feature in names]
        atomic.write_json(tmp_path / f"{name}.json", {"model": "builtin:tiny", "criterion": {"text": "c"}, "cards": cards})
        request = {"report": f"{name}.json", "prompts": "p.jsonl", "metric": "logprob", "steps": 2}
        _, _, folder = run_kind("attribution_graph", tables=TINY, **request)
        edges = atomic.read_json(folder.path / "graph.json")["edges"]
        weights[name] = {(edge["source"][-6:], edge["target"][-6:]): edge["attribution"] for edge in edges if edge["type"] == "attribution"}
    shifted = {tuple(in_blocks(end, "hidden_state_index") for end in ends): weight for ends, weight in weights["theirs"].items()}
    assert shifted == pytest.approx(weights["ours"]) and len(shifted) >= 2
