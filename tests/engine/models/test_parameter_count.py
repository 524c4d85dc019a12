"""Sizes of models from the headers of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp_tui_engine.models.builtin_index import folder_of
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.parameter_count import parameter_count


def tiny_folder(at: Path) -> Path:
    """The embedded model as a folder of its own."""
    at.mkdir(parents=True)
    (at / "config.json").write_bytes((folder_of("builtin:tiny") / "config.json").read_bytes())
    (at / "model.safetensors").write_bytes((folder_of("builtin:tiny") / "final.safetensors").read_bytes())
    return at


def test_a_count_is_that_of_the_loaded_model(tmp_path: Path) -> None:
    loaded = sum(p.numel() for p in load_model("builtin:tiny", device="cpu").module.parameters())
    assert parameter_count("builtin:tiny") == parameter_count(str(tiny_folder(tmp_path / "m"))) == loaded


def test_a_gguf_header_counts_elements_not_bytes(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    np = pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_tensor("token_embd.weight", np.zeros((7, 32), np.float16))
    writer.add_tensor("output_norm.weight", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert parameter_count(str(tmp_path / "m.gguf")) == 8 * 32


def test_a_hub_model_is_known_once_it_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert parameter_count("someone/tiny") is None
    store = tmp_path / "models--someone--tiny"
    tiny_folder(store / "snapshots" / "abc123")
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("abc123")
    assert parameter_count("someone/tiny") == parameter_count("someone/tiny", "abc123") == parameter_count("builtin:tiny")
    assert parameter_count("someone/tiny", "other") is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x04" + b"\0" * 7 + b"null", b"\x10" + b"\0" * 7 + b'{"a":{"shape":1}}'])
def test_what_no_model_is_loaded_from_has_no_size(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + content)
    assert parameter_count(str(tmp_path)) is None
    assert parameter_count(str(tmp_path / "m.gguf")) is None
    assert parameter_count("builtin:none") is None
    assert parameter_count("../..") is None
