"""Files: the layout of SAE Lens, what it says and what it refuses; and, where SAE Lens is installed beside, that each loads the other's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp_tui_engine.dictionaries import sae_lens
from interp_tui_engine.dictionaries.dictionary import Dictionary
from interp_tui_engine.dictionaries.names import NAMES, Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.weights import tied
from interp_tui_engine.errors import UserError
from interp_tui_engine.experiments._features.open_sae import open_sae, site_of
from interp_tui_engine.sites.site import parse

M, D, K = 20, 8, 3
PEER = Path(__file__).parents[3] / ".bench/saelens/bin/python"


def dictionary(name: str) -> Dictionary:
    g = torch.Generator().manual_seed(4)
    architecture = build(name, M, Sparsity(K, 0.1, 1.0, 0.5, 0.2, 3))  # type: ignore[arg-type]
    weights = architecture.begin(tied(M, torch.randn(50, D, generator=g), g))
    for tensor in weights.named().values():
        tensor.add_(torch.randn(tensor.shape, generator=g) * 0.1)
    if weights.threshold is not None:
        weights.threshold.abs_()
    # as train_sae writes them, so that a BatchTopK comes back as one
    return Dictionary(architecture, weights, {"hook_name": "blocks.1.hook_resid_post", "interp_tui": {"architecture": name, "k": K}})


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.randn(40, D, generator=torch.Generator().manual_seed(9)) * 2


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_is_the_same_dictionary(name: str, inputs: torch.Tensor, tmp_path: Path) -> None:
    saved = dictionary(name)
    sae_lens.save(saved, tmp_path / "sae")
    loaded = sae_lens.load(tmp_path / "sae")
    assert torch.equal(loaded.encode(inputs), saved.encode(inputs))
    assert torch.equal(loaded.reconstruct(inputs), saved.reconstruct(inputs))
    torch.testing.assert_close(loaded.decode(loaded.encode(inputs)), loaded.reconstruct(inputs))
    assert loaded.about["hook_name"] == "blocks.1.hook_resid_post"
    assert loaded.encode(inputs.view(5, 8, D)).shape == (5, 8, M)


def test_layout(tmp_path: Path) -> None:
    expected = {
        "topk": ("topk", {"W_enc", "b_enc", "W_dec", "b_dec"}),
        "relu": ("standard", {"W_enc", "b_enc", "W_dec", "b_dec"}),
        "batch_topk": ("jumprelu", {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"}),
        "gated": ("gated", {"W_enc", "b_gate", "W_dec", "b_dec", "r_mag", "b_mag"}),
    }
    for name, (architecture, names) in expected.items():
        sae_lens.save(dictionary(name), tmp_path / name)
        config = json.loads((tmp_path / name / "cfg.json").read_text())
        tensors = load_file(tmp_path / name / "sae_weights.safetensors")
        assert config["architecture"] == architecture and (config["d_in"], config["d_sae"]) == (D, M)
        assert set(tensors) == names
        assert tensors["W_enc"].shape == (D, M) and tensors["W_dec"].shape == (M, D)
    assert json.loads((tmp_path / "topk/cfg.json").read_text())["k"] == K


def test_options_of_sae_lens_are_folded_in(inputs: torch.Tensor, tmp_path: Path) -> None:
    """h = xW + b where b_dec is not subtracted; codes scaled by the decoder's norms where they are to be."""
    sae_lens.save(dictionary("topk"), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True}))
    norm = tensors["W_dec"].norm(dim=1)
    hidden = (inputs @ tensors["W_enc"] + tensors["b_enc"]) * norm
    kept = hidden.topk(K, dim=1)
    codes = torch.zeros_like(hidden).scatter(1, kept.indices, kept.values.relu())
    loaded = sae_lens.load(tmp_path)
    torch.testing.assert_close(loaded.encode(inputs), codes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loaded.reconstruct(inputs), (codes / norm) @ tensors["W_dec"] + tensors["b_dec"], rtol=1e-4, atol=1e-5)


def broken(folder: Path, config: dict[str, Any] | None = None, tensors: dict[str, torch.Tensor] | None = None, drop: str = "") -> None:
    sae_lens.save(dictionary("topk"), folder)
    said = json.loads((folder / "cfg.json").read_text()) | (config or {})
    (folder / "cfg.json").write_text(json.dumps(said))
    held = load_file(folder / "sae_weights.safetensors") | (tensors or {})
    held.pop(drop, None)
    save_file(held, folder / "sae_weights.safetensors")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": {"architecture": "temporal"}}, "architecture 'temporal' cannot be read"),
        ({"config": {"d_in": 9}}, r"W_enc is \(8, 20\), but cfg.json's d_in = 9, d_sae = 20 make it \(9, 20\)"),
        ({"config": {"d_sae": "20"}}, "d_sae = '20'"),
        ({"config": {"k": 21}}, "k = 21"),
        ({"config": {"normalize_activations": "layer_norm"}}, "normalize_activations = 'layer_norm' cannot be used"),
        ({"tensors": {"b_enc": torch.full((M,), torch.nan)}}, "b_enc holds values that are not finite"),
        ({"drop": "W_dec"}, "has no tensor W_dec"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    broken(tmp_path, **changes)
    with pytest.raises(UserError, match=said):
        sae_lens.load(tmp_path)


def test_folders_that_hold_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dictionary in"):
        sae_lens.load(tmp_path)
    broken(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="is no safetensors file"):
        sae_lens.load(tmp_path)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(UserError, match=r"cfg\.json cannot be read"):
        sae_lens.load(tmp_path)


PEER_SCRIPT = """
import sys, torch
from pathlib import Path
from sae_lens import SAE
from sae_lens.saes import StandardSAE, StandardSAEConfig, TopKSAE, TopKSAEConfig, JumpReLUSAE, JumpReLUSAEConfig, GatedSAE, GatedSAEConfig
root = Path(sys.argv[1]); x = torch.load(root / "x.pt"); found = {}
for folder in sorted(root.glob("ours-*")):
    sae = SAE.load_from_disk(folder)
    found[folder.name] = (sae.encode(x).detach(), sae(x).detach())
torch.manual_seed(0)
for name, sae in {"standard": StandardSAE(StandardSAEConfig(8, 20)), "topk": TopKSAE(TopKSAEConfig(8, 20, k=3)),
                  "jumprelu": JumpReLUSAE(JumpReLUSAEConfig(8, 20)), "gated": GatedSAE(GatedSAEConfig(8, 20))}.items():
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        if name == "jumprelu":
            sae.threshold.abs_()
    sae.save_model(root / f"theirs-{name}")
    found[f"theirs-{name}"] = (sae.encode(x).detach(), sae(x).detach())
torch.save(found, root / "found.pt")
"""


@pytest.mark.skipif(not PEER.exists(), reason="SAE Lens is not installed in .bench/saelens")
def test_sae_lens_reads_ours_and_we_read_theirs(inputs: torch.Tensor, tmp_path: Path) -> None:
    for name in NAMES:
        sae_lens.save(dictionary(name), tmp_path / f"ours-{name}")
    torch.save(inputs, tmp_path / "x.pt")
    subprocess.run([PEER, "-c", PEER_SCRIPT, tmp_path], check=True, timeout=120, capture_output=True)
    found = torch.load(tmp_path / "found.pt")
    assert len(found) == len(NAMES) + 4
    for folder, (codes, reconstruction) in found.items():
        loaded = sae_lens.load(tmp_path / folder)
        torch.testing.assert_close(loaded.encode(inputs), codes, rtol=1e-4, atol=1e-5, msg=lambda m, f=folder: f"{f}: {m}")
        torch.testing.assert_close(loaded.reconstruct(inputs), reconstruction, rtol=1e-4, atol=1e-5)


def test_opening_a_run_a_folder_or_one_of_several(tmp_path: Path) -> None:
    sae_lens.save(dictionary("topk"), tmp_path / "one/sae")
    assert open_sae(tmp_path / "one", "cpu", width=D).weights.latents == M
    assert open_sae(tmp_path / "one/sae", "cpu").weights.latents == M
    for name in ("a", "b"):
        sae_lens.save(dictionary("topk"), tmp_path / "two/sae" / name)
    assert open_sae(tmp_path / "two", "cpu", name="b").weights.latents == M
    with pytest.raises(UserError, match=r"holds several dictionaries(?s:.*)a, b"):
        open_sae(tmp_path / "two", "cpu")
    with pytest.raises(UserError, match="holds no dictionary 'c'"):
        open_sae(tmp_path / "two", "cpu", name="c")
    with pytest.raises(UserError, match=r"width 8, but these have 16; it was trained at L1\.resid_post"):
        open_sae(tmp_path / "one", "cpu", width=16)
    with pytest.raises(UserError, match="no dictionary in"):
        open_sae(tmp_path / "none", "cpu")


@pytest.mark.parametrize(
    ("hook", "site"),
    [("blocks.3.attn.hook_z", "L3.z"), ("blocks.0.mlp.hook_post", "L0.mlp_post"), ("hook_embed", "embed"), ("blocks.1.hook_scale", None)],
)
def test_hook_names_are_understood(hook: str, site: str | None) -> None:
    given = dictionary("topk")
    found = site_of(Dictionary(given.architecture, given.weights, {"hook_name": hook}))
    assert found == (None if site is None else parse(site))
