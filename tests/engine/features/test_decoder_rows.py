"""Decoder rows in fingerprints: read from the dictionary that the records name, compared within one space only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from interp_tui_engine.experiments._features.decoder_rows import rows_of
from interp_tui_engine.features.matching import match


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A records run on a dictionary of two latents."""
    run, sae = tmp_path / "records", tmp_path / "train" / "sae"
    run.mkdir()
    sae.mkdir(parents=True)
    save_file({"W_dec": np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)}, sae / "sae_weights.safetensors")
    (sae / "cfg.json").write_text(json.dumps({"metadata": {"model_name": "m", "hook_name": "blocks.2.hook_resid_post"}}))
    (run / "result.json").write_text(json.dumps({"sae": str(tmp_path / "train")}))
    return run


def test_a_latent_has_its_row_at_unit_length_and_its_space(records: Path) -> None:
    row = rows_of([str(records)])
    assert row("SAE:L2:F0") == {"decoder_signature": [0.6, 0.8], "decoder_basis": "m blocks.2.hook_resid_post"}
    assert row("SAE:L2:F1") == {}, "a row of zeros has no direction"
    assert row("SAE:L2:F7") == row("L2:D0") == row("foreign") == {}


def test_a_dictionary_that_is_gone_or_broken_gives_nothing(records: Path, tmp_path: Path) -> None:
    (tmp_path / "train/sae/sae_weights.safetensors").write_bytes(b"no safetensors")
    assert rows_of([str(records)])("SAE:L2:F0") == {}
    assert rows_of([str(tmp_path / "records.jsonl")])("SAE:L2:F0") == {}
    (records / "result.json").write_text("[]")
    assert rows_of([str(records)])("SAE:L2:F0") == {}


def card(name: str, vector: list[float], basis: str) -> dict[str, Any]:
    return {"feature_id": name, "fingerprint": {"decoder_signature": vector, "decoder_basis": basis}}


def test_rows_of_two_spaces_are_not_compared() -> None:
    left = [card("a", [1.0, 0.0], "m L2"), card("b", [0.0, 1.0], "m L2")]
    same, other = ([card("x", [0.0, 1.0], basis), card("y", [1.0, 0.0], basis)] for basis in ("m L2", "n L2"))
    found, _ = match(left, same, weights={"decoder": 1.0}, least=0.0, shuffles=0, seed=0)
    assert {(one.left, one.right, one.score) for one in found} == {(0, 1, 1.0), (1, 0, 1.0)}
    assert match(left, other, weights={"decoder": 1.0}, least=0.0, shuffles=0, seed=0)[0] == []
