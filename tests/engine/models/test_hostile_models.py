"""A hostile model is refused with a sentence or loads whole; nothing in it is run, and what is hashed is what was read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp_tui_engine import manifest
from interp_tui_engine.errors import UserError
from interp_tui_engine.models.load import load_model
from torture.hostile_models import Case, cases, sound_folder, went_off

IDS = torch.tensor([[3, 1, 4, 1, 5]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound_folder(tmp_path_factory.mktemp("sound") / "base")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_hostile_model_is_refused_or_loads_whole(case: Case, base: Path, tmp_path: Path) -> None:
    if case.name.startswith("GGUF"):
        pytest.importorskip("gguf")
    source = case.make(base, tmp_path / "model")
    if case.refusal is None:
        loaded = load_model(source, device="cpu")
        assert not loaded.difference
        assert torch.isfinite(loaded.module(IDS).logits).all()
        if source.is_dir():
            assert torch.equal(loaded.module(IDS).logits, load_model(base, device="cpu").module(IDS).logits)
            assert (loaded.weights_hash == load_model(base, device="cpu").weights_hash) is (case.name != "old rotary buffer")
    else:
        with pytest.raises(UserError, match=case.refusal):
            load_model(source, device="cpu")
    assert not went_off(tmp_path / "model").exists()


def test_partial_weights_load_alike_each_time_and_say_what_was_missing(base: Path, tmp_path: Path) -> None:
    folder = next(case for case in cases() if case.name == "one tensor missing").make(base, tmp_path / "model")
    torch.manual_seed(1)
    first = load_model(folder, device="cpu", partial=True)
    torch.manual_seed(2)
    second = load_model(folder, device="cpu", partial=True)
    assert torch.equal(first.module(IDS).logits, second.module(IDS).logits)
    assert first.difference.missing == ("model.layers.0.self_attn.q_proj.weight",)
    assert first.identity["partial_weights"] == {"missing": ["model.layers.0.self_attn.q_proj.weight"], "unexpected": []}
    assert "partial_weights" not in load_model(base, device="cpu", partial=True).identity


def test_loading_draws_no_random_numbers_of_the_caller(base: Path) -> None:
    torch.manual_seed(5)
    load_model(base, device="cpu")
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


def test_an_index_hides_no_second_set_of_weights(base: Path, tmp_path: Path) -> None:
    """transformers reads model.safetensors where there is one, whatever an index says; the hash must be that file's."""
    folder = next(case for case in cases() if case.name == "sound index").make(base, tmp_path / "model")
    decoy = {name: tensor * 0 for name, tensor in load_file(folder / "a.safetensors").items()}
    plain = load_model(folder, device="cpu")
    save_file(decoy, folder / "z.safetensors", metadata={"format": "pt"})
    assert load_model(folder, device="cpu").weights_hash == plain.weights_hash


def test_a_manifest_says_that_weights_may_be_partial() -> None:
    request = manifest.parse('kind = "logit_lens"\n[model]\npartial = true\n[params]\nprompt = "a b"\nanswer = " c"')
    assert request.model is not None and request.model.partial
    assert manifest.parse(request.to_toml()) == request
