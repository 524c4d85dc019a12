"""Head scores: equal to their definitions spelt out, and on the embedded model an induction circuit that names itself."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.circuits.heads import _stripe, copying, head_scores
from interp_tui_engine.models.load import load_model
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import activations
from interp_tui_engine.sites.site import Site
from references.tiny_families import tiny_family


def test_a_stripe_is_the_mean_weight_at_one_distance():
    pattern = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).tril()
    for back, first in ((1, 1), (4, 4), (3, 4)):
        spelt = torch.stack([pattern[:, :, query, query - back] for query in range(first, 8)]).mean((0, 1))
        torch.testing.assert_close(_stripe(pattern, back, first), spelt)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_scores_are_those_of_the_patterns(family):
    site_map, length = site_map_of(tiny_family(family)), 6
    found = head_scores(site_map, 64, length=length, rows=3, seed=5)
    half = torch.randint(0, 64, (3, length), generator=torch.Generator().manual_seed(5))
    for layer in range(site_map.num_layers):
        pattern = activations(site_map, torch.cat([half, half], 1), [Site("attn_pattern", layer)])[Site("attn_pattern", layer)]
        for head in range(site_map.num_heads):
            queries = range(length, 2 * length)
            spelt = torch.stack([pattern[:, head, query, query - length + 1] for query in queries]).mean()
            torch.testing.assert_close(found.induction[layer, head], spelt)
            spelt = torch.stack([pattern[:, head, query, query - length] for query in queries]).mean()
            torch.testing.assert_close(found.duplicate_token[layer, head], spelt)


@torch.no_grad()
def test_copying_is_the_output_value_circuit_spelt_out():
    module = tiny_family("llama")
    tokens = torch.arange(2, 50)
    found = copying(site_map_of(module), tokens)
    for layer in range(3):
        block = module.model.layers[layer]
        value = block.self_attn.v_proj(block.input_layernorm(module.model.embed_tokens(tokens))).view(-1, 2, 8)
        for head in range(4):
            out = value[:, head // 2] @ block.self_attn.o_proj.weight[:, 8 * head : 8 * head + 8].T
            top = (out @ module.lm_head.weight.T).topk(10).indices
            assert float(found[layer, head]) == pytest.approx(float((top == tokens[:, None]).any(1).float().mean()))


def test_the_embedded_model_has_an_induction_circuit():
    model = load_model("builtin:tiny", device="cpu")
    found = head_scores(site_map_of(model), model.vocab_size, length=24, rows=4, seed=1)
    previous = [head for head in range(8) if found.name_of(0, head) == "previous token"]
    induction = [head for head in range(8) if found.name_of(1, head) == "induction"]
    assert len(previous) >= 2 and len(induction) >= 3
    assert float(found.copying[1, induction].min()) > 0.8, "an induction head copies what it finds"
    assert found.name_of(3, 0) is None
