"""Loading: every door opens quietly on a frozen causal model, and what cannot be loaded says why without running anything."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, T5Config

from interp_tui_engine.errors import UserError
from interp_tui_engine.models import builtin_index
from interp_tui_engine.models.device import available, resolve_device
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.skeleton import load_skeleton

SMOLLM2 = Path(__file__).parents[3] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
IDS = torch.tensor([[3, 1, 4, 1, 5]])


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    """A GPT-2 of a few thousand parameters, as `save_pretrained` leaves it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    ).save_pretrained(folder)
    return folder


def copy(folder: Path, to: Path, *names: str) -> Path:
    to.mkdir()
    for name in names:
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def test_folder_loads_frozen_and_equal_to_what_was_saved(gpt2):
    loaded = load_model(gpt2, device="cpu")
    saved = GPT2LMHeadModel.from_pretrained(gpt2).eval()
    assert torch.equal(loaded.module(IDS).logits, saved(IDS).logits)
    assert not loaded.module.training and not any(p.requires_grad for p in loaded.module.parameters())
    assert (loaded.vocab_size, loaded.num_parameters) == (50, sum(p.numel() for p in saved.parameters()))
    assert (loaded.tokenizer, loaded.tokenizer_hash, loaded.revision) == (None, "", None)
    assert (loaded.source, loaded.device, loaded.dtype) == (str(gpt2), torch.device("cpu"), torch.float32)


def test_dtype_is_that_of_every_parameter(gpt2):
    loaded = load_model(gpt2, device="cpu", dtype="bfloat16")
    assert {p.dtype for p in loaded.module.parameters()} == {torch.bfloat16}


def test_a_lower_precision_rounds_parameters_and_not_what_positions_are_made_of():
    full, low = (load_model("builtin:tiny", device="cpu", dtype=dtype).module for dtype in ("float32", "bfloat16"))
    buffers = {name: value for name, value in full.named_buffers() if value.is_floating_point()}
    assert any("inv_freq" in name for name in buffers)
    assert all(torch.equal(value, dict(low.named_buffers())[name]) for name, value in buffers.items())
    assert low.lm_head.weight is low.model.embed_tokens.weight, "what is tied stays tied"
    ids = torch.randint(5, 2048, (4, 128), generator=torch.Generator().manual_seed(0))
    p, q = (torch.log_softmax(module(ids).logits.float(), -1) for module in (full, low))
    assert float((p.exp() * (p - q)).sum(-1).mean()) < 0.004, "rounding inv_freq too makes it 0.008"


def test_weights_hash_follows_the_weights_and_nothing_else(gpt2, tmp_path):
    moved = copy(gpt2, tmp_path / "moved", "config.json", "model.safetensors")
    assert load_model(moved).weights_hash == load_model(gpt2).weights_hash
    weights = load_file(moved / "model.safetensors")
    weights["transformer.wte.weight"][0, 0] += 1
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert load_model(moved).weights_hash != load_model(gpt2).weights_hash


def test_builtin_lists_and_loads_every_checkpoint():
    names = builtin_index.revisions("builtin:tiny")
    assert names[0] == "step-0" and names[-1] == "final" and 6 <= len(names) <= 8
    hashes = set()
    for name in names:
        loaded = load_model("builtin:tiny", revision=name, device="cpu")
        assert loaded.revision == name and torch.isfinite(loaded.module(IDS).logits).all()
        hashes.add(loaded.weights_hash)
    assert len(hashes) == len(names)
    assert load_model("builtin:tiny", device="cpu").revision == "final"


def test_unknown_builtin_and_revision_list_what_there_is():
    with pytest.raises(UserError, match=r"no model called 'builtin:tyni'.*\n.*builtin:tiny"):
        load_model("builtin:tyni")
    with pytest.raises(UserError, match=r"no revision 'finl'.*\n.*did you mean 'final'.*step-0"):
        load_model("builtin:tiny", revision="finl")


def test_builtin_index_imports_no_torch():
    program = (
        "import sys; from interp_tui_engine.models.builtin_index import revisions; "
        "revisions('builtin:tiny'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_loading_says_nothing_and_leaves_verbosity_alone(gpt2, capfd, recwarn):
    levels = [logging.getLogger(name).level for name in ("transformers", "huggingface_hub")]
    load_model(gpt2)
    load_model("builtin:tiny")
    captured = capfd.readouterr()
    assert captured.out == captured.err == "" and not recwarn.list
    assert levels == [logging.getLogger(name).level for name in ("transformers", "huggingface_hub")]


def test_devices(gpt2):
    assert str(resolve_device("auto")) == available()[0] and resolve_device("cpu") == torch.device("cpu")
    absent = f"cuda:{torch.cuda.device_count() + 7}"
    for name in (absent, "tpu"):
        with pytest.raises(UserError, match=rf"no device '{name}'.*\n.*available: auto.*cpu"):
            load_model(gpt2, device=name)
    if "mps" not in available():
        with pytest.raises(UserError, match=r"no device 'mps'"):
            resolve_device("mps")


def test_unknown_dtype_and_backend(gpt2):
    with pytest.raises(UserError, match=r"no dtype 'float8'.*\n.*float32"):
        load_model(gpt2, dtype="float8")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"backend 'nnsight'"):
        load_model(gpt2, backend="nnsight")


class Bomb:
    """Pickled, it writes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickles_are_not_opened_unless_trusted(gpt2, tmp_path):
    folder = copy(gpt2, tmp_path / "pickled", "config.json")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "went-off")))
    with pytest.raises(UserError, match=r"only as pickles \(pytorch_model.bin\).*\n.*safetensors.*--trust.*trust=True"):
        load_model(folder)
    assert not (tmp_path / "went-off").exists()
    torch.save(GPT2LMHeadModel.from_pretrained(gpt2).state_dict(), folder / "pytorch_model.bin")
    assert torch.equal(load_model(folder, trust=True).module(IDS).logits, load_model(gpt2).module(IDS).logits)


def test_a_model_with_its_own_code_needs_trust(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Model"}}))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'went-off')!r}, 'w')")
    with pytest.raises(UserError, match=r"code of its own.*\n.*--trust.*trust=True"):
        load_model(tmp_path)
    assert not (tmp_path / "went-off").exists()


def test_models_that_are_no_causal_lm(tmp_path):
    BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)).save_pretrained(
        tmp_path
    )
    with pytest.raises(UserError, match=r"no causal language model, but BertModel.*\n.*ForCausalLM"):
        load_model(tmp_path)
    for config in (T5Config(), {"model_type": "vit", "architectures": ["ViTForImageClassification"]}):
        (tmp_path / "config.json").write_text(json.dumps(config if isinstance(config, dict) else config.to_dict()))
        with pytest.raises(UserError, match=r"no causal language model"):
            load_model(tmp_path)


def test_incomplete_folders(gpt2, tmp_path):
    with pytest.raises(UserError, match=r"no such file or folder"):
        load_model(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no such file or folder"):
        load_model("models/absent.gguf")
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(tmp_path)
    with pytest.raises(UserError, match=r"no weights"):
        load_model(copy(gpt2, tmp_path / "weightless", "config.json"))
    cut = copy(gpt2, tmp_path / "cut", "config.json", "model.safetensors")
    whole = (gpt2 / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"weights cannot be loaded"):
        load_model(cut)
    (cut / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"is not JSON"):
        load_model(cut)
    with pytest.raises(UserError, match=r"has no revisions"):
        load_model(gpt2, revision="main")


def test_loose_files(gpt2, tmp_path):
    with pytest.raises(UserError, match=r"weights without a configuration"):
        load_model(gpt2 / "model.safetensors")
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "went-off")))
    with pytest.raises(UserError, match=r"weights without a configuration"):
        load_model(tmp_path / "weights.pt")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"is no model"):
        load_model(tmp_path / "notes.txt")
    assert not (tmp_path / "went-off").exists()


def test_hub_out_of_reach_points_to_what_is_local(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.model_info", _unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"hub cannot be reached\n.*builtin:tiny"):
        load_model("someone/something")
    with pytest.raises(UserError, match=r"hub cannot be reached"):
        load_model("someone/something", revision="v1")


def _unreachable(*_: object, **__: object) -> None:
    raise OSError("no route")


def write_gguf(path: Path) -> Path:
    """The smallest Llama that a GGUF holds: enough to be cut in half."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", torch.randn(64, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_gguf_that_is_cut_short(share, tmp_path):
    pytest.importorskip("gguf")
    path = write_gguf(tmp_path / "model.gguf")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut short|damaged"):
        load_model(path)


def test_a_gguf_that_is_none(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"not a GGUF file"):
        load_model(tmp_path / "page.gguf")


def test_gguf_extra_missing_names_it(tmp_path, monkeypatch):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("interp_tui_engine.models.gguf.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gguf and accelerate\n.*interp-tui\[gguf\]"):
        load_model(tmp_path / "model.gguf")


@pytest.mark.real
@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make smollm2` fetches it")
def test_smollm2_knows_paris(capfd):
    loaded = load_model(SMOLLM2, device="cpu")
    assert loaded.tokenizer is not None and loaded.num_parameters == pytest.approx(134.5e6, rel=0.01)
    tokens = loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    logits = loaded.module(tokens).logits[0, -1]
    paris, tokyo = (loaded.tokenizer(word, add_special_tokens=False).input_ids for word in (" Paris", " Tokyo"))
    assert float(logits[paris[0]] - logits[tokyo[0]]) == pytest.approx(9.073, abs=0.05)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.real
@pytest.mark.skipif(not SMOLLM2.exists(), reason="`make smollm2` fetches it")
def test_a_gguf_file_s_skeleton_is_the_model_without_its_weights():
    def parameters(module):
        return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}

    skeleton = load_skeleton(str(SMOLLM2), None)
    assert parameters(skeleton) == parameters(load_model(SMOLLM2, device="cpu").module)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
