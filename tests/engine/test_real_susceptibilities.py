"""Susceptibilities of a real model: the example manifest on SmolLM2-135M-Instruct, cut short. `make smollm2` fetches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp_tui_engine import manifest, supervisor

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_parts_of_smollm2_respond_with_errors(tmp_path: Path) -> None:
    if not list((ROOT / "models").glob("SmolLM2*.gguf")):
        pytest.skip("make smollm2 fetches the model")
    short = [
        'params.restrictions=["l29 attn", "l15 mlp"]',
        "params.num_draws=2",
        "params.num_burnin_steps=1",
        "params.num_steps_bw_draws=1",
    ]
    request = manifest.load(ROOT / "examples" / "manifests" / "susceptibilities_smollm2.toml", short)
    folder = supervisor.prepare(request, tmp_path / "smollm2")
    status = supervisor.supervise(folder)
    assert status.state == "done", status.exit
    result = folder.result()
    assert result is not None and result["restrictions"] == ["l29 attn", "l15 mlp"]
    assert result["parameters"]["l29 attn"] == 2 * 576 * 576 + 2 * 192 * 576
    for part in result["restrictions"]:
        assert result["mean"][part]["code"] != 0 and result["std_error"][part]["code"] is not None
        assert result["mean"][part]["prose"] == 0.0
    assert 1.0 < result["init_loss"] < 6.0, "a trained model on docstrings: far below ln(49,152) = 10.8"
