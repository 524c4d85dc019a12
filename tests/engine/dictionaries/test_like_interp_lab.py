"""`train_sae` as interp-lab's first examples call it: a dictionary without training, its file, and steered latents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp_tui_engine as engine
from in_process import api_runs_here
from interp_tui_engine import manifest
from interp_tui_engine.api.sae_effects import associated, most_specific
from interp_tui_engine.dictionaries import sae_lens
from interp_tui_engine.dictionaries.dictionary import Dictionary
from interp_tui_engine.dictionaries.interp_lab_json import load_json, save_json
from interp_tui_engine.dictionaries.names import Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.variance_axes import held_out, variance_axes
from interp_tui_engine.dictionaries.weights import Weights
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.features import interventions
from interp_tui_engine.features.answer_sets import UNITS, UNITS_NAME, expanded
from interp_tui_engine.features.interventions import Intervention

POSITIVE = ("The capital of France is", "The capital of Japan is", "The capital of Italy is")
NEGATIVE = ("The color of grass is", "The color of snow is", "Two plus two is")


@pytest.fixture(autouse=True)
def _runs_in_this_process() -> Iterator[None]:
    with api_runs_here():
        yield


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"text": text, "criterion_score": score} for score, texts in ((1.0, POSITIVE), (0.0, NEGATIVE)) for text in texts]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({**row, "prompt_id": f"p{i}"}) + "\n" for i, row in enumerate(rows)))
    return path


def test_latents_are_the_dimensions_that_vary_most() -> None:
    """Mean (1, 0, 10); mean squares about it 1, 9 and 4. Two more latents than dimensions: random unit vectors, the same each time."""
    x = np.array([[0.0, 3.0, 12.0], [2.0, -3.0, 8.0]])
    weights = variance_axes(x, 5, l1=0.5, share=0.0, seed=1)
    assert weights.b_dec.tolist() == [1.0, 0.0, 10.0] and weights.b_enc.tolist() == [-0.5] * 5
    assert weights.encoder[:3].tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(weights.decoder[3:].norm(dim=1), torch.ones(2))
    assert torch.equal(variance_axes(x, 5, l1=0.5, share=0.0, seed=1).encoder, weights.encoder)
    codes = Dictionary(build("relu", 5, Sparsity(5, 0.5, 1, 2, 1, 1, {})), weights).encode(torch.tensor(x).float())
    assert codes[:, :3].tolist() == [[2.5, 1.5, 0.0], [0.0, 0.0, 0.5]]


def test_rows_held_out_are_the_same_each_time_and_never_all() -> None:
    kept, out = held_out(12, 0.25, 0)
    assert sorted(kept + out) == list(range(12)) and len(out) == 3 and (kept, out) == held_out(12, 0.25, 0)
    assert held_out(1, 0.5, 0) == ([0], []) and held_out(4, 0.0, 0) == ([0, 1, 2, 3], [])
    assert len(held_out(2, 0.99, 0)[0]) == 1


@pytest.mark.parametrize(("name", "k"), [("relu", 4), ("topk", 2)])
def test_a_dictionary_goes_through_its_file_unchanged(tmp_path: Path, name: str, k: int) -> None:
    weights = Weights(torch.randn(4, 3), torch.randn(4), torch.randn(4, 3), torch.randn(3))
    kept = Dictionary(
        build(name, 4, Sparsity(k, 0.1, 1, 2, 1, 1, {})), weights, {"model_name": "m", "hook_name": "blocks.1.hook_resid_post"}
    )
    save_json(kept, tmp_path / "sae.json")
    stored = json.loads((tmp_path / "sae.json").read_text())
    assert stored["layer"] == 2 and stored["latent_dim"] == 4 and stored["source_feature_ids"] == ["H2:D0", "H2:D1", "H2:D2"]
    x = torch.randn(6, 3)
    torch.testing.assert_close(load_json(tmp_path / "sae.json").encode(x), kept.encode(x))


@pytest.mark.parametrize(("thresholds", "holds"), [([0.5, 0.5], True), ([0.5, 0.7], False)])
def test_thresholds_of_each_latent_do_not_fit_its_file(tmp_path: Path, thresholds: list[float], holds: bool) -> None:
    weights = Weights(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), threshold=torch.tensor(thresholds))
    kept = Dictionary(build("jumprelu", 2, Sparsity(2, 0.1, 1, 2, 1, 1, {})), weights)
    if not holds:
        with pytest.raises(UserError, match="thresholds that differ"):
            save_json(kept, tmp_path / "sae.json")
        return
    save_json(kept, tmp_path / "sae.json")
    assert load_json(tmp_path / "sae.json").encode(torch.tensor([[0.4, 0.6]])).tolist() == [[0.0, pytest.approx(0.6)]]


def test_without_training_of_pooled_prompts_into_its_file(tmp_path: Path, prompts: Path) -> None:
    done = engine.train_sae(
        hf_model="builtin:tiny",
        dataset=prompts,
        layer=1,
        pool="mean",
        latent_dim=8,
        method="fallback",
        device="cpu",
        out=tmp_path / "sae.json",
    )
    cache = engine.ActivationCache(engine.load_model("builtin:tiny", device="cpu"))
    means = torch.stack([cache.run(text).residual_stream(layer=1).mean(0) for text in (*POSITIVE, *NEGATIVE)])
    kept = held_out(6, 0.1, 0)[0]
    dictionary = load_json(done.artifact_path)
    torch.testing.assert_close(dictionary.weights.b_dec, means[kept].mean(0), rtol=1e-4, atol=1e-4)
    assert done.values["method"] == "fallback" and 0 < done.values["fvu"] <= 1.5 and done.artifact_path == tmp_path / "sae.json"


def test_steered_latents_are_written_as_the_peer_has_them(tmp_path: Path, prompts: Path) -> None:
    """Each latent's rows at one strength, its controls beside them; what is added is that many times the decoder's row."""
    done = engine.train_sae(
        hf_model="builtin:tiny", dataset=prompts, layer=1, latent_dim=8, epochs=2, device="cpu", out=tmp_path / "sae",
        criterion="a capital comes next", causal_out=tmp_path / "moved.jsonl", causal_top_k=2, causal_strength_sweep=[2.0, 5.0],
        target_tokens=[" Paris", " Tokyo", " Rome"],
    )  # fmt: skip
    assert done.interventions_path == tmp_path / "moved.jsonl"
    rows = interventions.read(done.interventions_path)
    own = [row for row in rows if row.control is None]
    assert len({row.feature_id for row in rows}) == 2 and len(own) == 2 * len(POSITIVE) and {row.verb for row in rows} == {"steer"}
    assert all(len({abs(row.strength or 0) for row in rows if row.feature_id == name}) == 1 for name in {row.feature_id for row in rows})
    assert any(row.control == "random" for row in rows) and {row.criterion for row in rows} == {"a capital comes next"}


def rows_of(feature: str, by_strength: dict[float, tuple[float, float]]) -> list[Intervention]:
    return [
        Intervention("m", feature, "steer", 0.1, 0.1 + effect, side_effect=side, metadata={"strength": strength})
        for strength, (effect, side) in by_strength.items()
    ]


def test_the_strength_kept_moves_most_beside_what_it_should_not_move() -> None:
    kept = most_specific(rows_of("a", {1.0: (0.2, 0.0), 2.0: (0.5, 0.4)}) + rows_of("b", {1.0: (0.1, 0.0), 2.0: (0.3, 0.05)}))
    assert [(row.feature_id, row.strength) for row in kept] == [("a", 1.0), ("b", 2.0)]


def test_latents_are_ranked_by_correlation_and_one_that_never_fires_is_last(tmp_path: Path) -> None:
    rows = [
        {"model": "m", "criterion_score": s, "features": {"L0:D0": a, "L0:D1": b}}
        for s, a, b in ((1, 3, 1), (1, 2, 4), (0, 0, 5), (0, 1, 2))
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps({**row, "prompt_id": str(i)}) + "\n" for i, row in enumerate(rows)))
    weights = Weights(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), torch.zeros(3), torch.zeros(3, 2), torch.zeros(2))
    ranked = associated(Dictionary(build("relu", 3, Sparsity(3, 0.1, 1, 2, 1, 1, {})), weights), tmp_path / "r.jsonl")
    assert [latent for latent, _ in ranked] == [0, 1, 2]
    expected = np.corrcoef([3, 2, 0, 1], [1, 1, 0, 0])[0, 1], np.corrcoef([1, 4, 5, 2], [1, 1, 0, 0])[0, 1], 0.0
    np.testing.assert_allclose([correlation for _, correlation in ranked], expected)


@pytest.mark.parametrize(
    ("about", "hook"),
    [
        ({}, "blocks.2.hook_resid_post"),
        ({"layer_convention": "hidden_state_index"}, "blocks.1.hook_resid_post"),
        ({"source": "hf-hidden-state"}, "blocks.1.hook_resid_post"),
    ],
)
@pytest.mark.parametrize("method", ["fallback", "torch"])
def test_records_say_how_they_count_layers(tmp_path: Path, about: dict[str, str], hook: str, method: Any) -> None:
    """interp-lab's L2 is the output of block 1: a dictionary of its records was placed at block 2. Its rows' latents are written, too."""
    draw = np.random.default_rng(0)
    rows = [{"model": "m", "prompt_id": f"p{i}", "text": f"t{i}", "criterion_score": i % 2} for i in range(12)]
    rows = [{**row, "features": {f"L2:D{d}": draw.normal() for d in range(4)}} for row in rows]
    rows[0]["feature_metadata"] = {f"L2:D{d}": about for d in range(4)} if about else {}
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"records": tmp_path / "r.jsonl", "records_out": tmp_path / "latents.jsonl", "latent_dim": 3, "epochs": 1, "device": "cpu"}
    done = engine.train_sae(**given, method=method, out=tmp_path / "sae")
    dictionary = sae_lens.load(done.artifact_path)
    assert dictionary.about["hook_name"] == hook and done.records_path == tmp_path / "latents.jsonl"
    written = [json.loads(line) for line in done.records_path.read_text().splitlines()]
    assert [(row["prompt_id"], row["criterion_score"]) for row in written] == [(row["prompt_id"], row["criterion_score"]) for row in rows]
    x = torch.tensor([[row["features"][f"L2:D{d}"] for d in range(4)] for row in rows])
    for row, codes in zip(written, dictionary.encode(x.float()).tolist(), strict=True):
        assert list(row["features"].values()) == pytest.approx([code for code in codes if code], rel=1e-5)
        assert all(name.startswith(f"SAE:L{hook[7]}:F") for name in row["features"])


def test_units_are_the_answers_where_none_are_given() -> None:
    assert expanded([" a", UNITS_NAME]) == [" a", *UNITS] and len(set(UNITS)) == 20 and " meters" in UNITS and " foot" in UNITS


def test_a_prompt_without_an_answer_is_told_of_the_peers_default(prompts: Path) -> None:
    params = {"criterion": "c", "prompts": str(prompts), "targets": ["L1:D3"], "metric": "prob"}
    with pytest.raises(ManifestError, match=r"no answer.*@units"):
        manifest.resolve({"kind": "interventions", "model": {"source": "builtin:tiny"}, "params": params})
    manifest.resolve({"kind": "interventions", "model": {"source": "builtin:tiny"}, "params": {**params, "answers": [UNITS_NAME]}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "magic"}, "there is no method 'magic'"),
        ({"method": "fallback", "preset": "production"}, "reads one activation a prompt"),
        ({"method": "fallback", "sparsity": "jumprelu"}, "makes no jumprelu dictionary"),
        ({"layer": None}, "layer is not given"),
        ({"causal_out": "x.jsonl"}, "without criterion"),
        ({"causal_out": "x.jsonl", "hf_model": None, "dataset": None, "records": "r.jsonl"}, "is given with records"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, prompts: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        engine.train_sae(**{"hf_model": "builtin:tiny", "dataset": prompts, "layer": 1, "device": "cpu", "out": tmp_path / "s", **changed})
