"""The Python name, from scored prompts to a dictionary and the records of its latents: real worker processes, so one test does it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import interp_tui_engine as engine
from interp_tui_engine.data.facts import sentences
from interp_tui_engine.dictionaries import sae_lens
from interp_tui_engine.errors import UserError


def test_train_sae_by_its_seed_name(tmp_path: Path) -> None:
    rows = [{"text": text, "criterion_score": float("capital" in text), "prompt_id": str(i)} for i, text in enumerate(sentences()[:120])]
    dataset = tmp_path / "prompts.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = engine.train_sae(
        preset="production",
        hf_model="builtin:tiny",
        dataset=dataset,
        layer=1,
        latent_dim=64,
        top_k=4,
        epochs=4,
        batch_size=100,
        max_length=16,
        out=tmp_path / "run",
        records_out=tmp_path / "latents.jsonl",
    )
    assert done.values["k"] == 4 and 0 < done.values["fvu"] < 1
    assert sae_lens.load(done.artifact_path).weights.latents == 64
    assert done.records_path is not None
    records = [json.loads(line) for line in done.records_path.read_text().splitlines()]
    assert len(records) == 120 and all(len(record["features"]) <= 4 for record in records)
    assert all(name.startswith("SAE:L1:F") for record in records for name in record["features"])


def test_twelve_short_prompts_are_a_row_each(tmp_path: Path) -> None:
    """interp-lab's first example: its preset minimal reads one activation a prompt, and its layer 2 is the output of block 1."""
    rows = [{"text": text, "criterion_score": float(i % 2), "prompt_id": str(i)} for i, text in enumerate(sentences()[:12])]
    dataset = tmp_path / "prompts.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = engine.train_sae(
        hf_model="builtin:tiny",
        dataset=dataset,
        layer=2,
        layer_convention="hidden_state_index",
        latent_dim=16,
        epochs=3,
        out=tmp_path / "run",
        records_out=tmp_path / "latents.jsonl",
    )
    assert sae_lens.load(done.artifact_path).weights.latents == 16 and done.records_path is not None
    records = [json.loads(line) for line in done.records_path.read_text().splitlines()]
    assert [record["prompt_id"] for record in records] == [str(i) for i in range(12)]
    assert all(name.startswith("SAE:L1:F") for record in records for name in record["features"])


@pytest.mark.parametrize(
    "keyword", ["jump_threshold", "causal_dataset_path", "decoder_signature_size", "top_k_features", "trust_remote_code"]
)
def test_keywords_without_a_counterpart_are_refused_with_what_to_do(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(ValueError, match=f"train_sae takes no {keyword}") as caught:
        engine.train_sae(out=tmp_path / "a", hf_model="builtin:tiny", dataset="p.jsonl", layer=1, **{keyword: "x"})
    assert isinstance(caught.value, UserError) and caught.value.hint


def test_what_train_sae_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="either records or hf_model"):
        engine.train_sae(out=tmp_path / "a")
    with pytest.raises(UserError, match="without dataset"):
        engine.train_sae(out=tmp_path / "a", hf_model="builtin:tiny", layer=1)
