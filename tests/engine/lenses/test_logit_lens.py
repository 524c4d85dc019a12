"""The logit lens: its last layer is the model, and its numbers are their definitions, with soft caps and norms as the model has them."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.lenses.logit_lens import crossover, read, streams
from interp_tui_engine.models import halving
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.row_memory import fitting_logits
from references.tiny_families import some_ids, tiny_family


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "gemma2", "cohere", "granite", "olmo2"])
@torch.no_grad()
def test_the_last_layer_is_the_models_own_output(family):
    module, ids = tiny_family(family), some_ids(1, 6)
    site_map = site_map_of(module)
    stream = streams(site_map, ids)
    found = read(site_map, stream[-1], stream[-1], [[7]] * 6, 3)
    probs = module(ids).logits[0].softmax(-1)
    torch.testing.assert_close(found.answer_prob, probs[:, 7], atol=1e-6, rtol=1e-5)
    assert torch.equal(found.top_token[:, 0], probs.argmax(-1)) and float(found.kl_to_end.max()) < 1e-6
    assert found.answer_rank.tolist() == (probs > probs[:, 7:8]).sum(-1).tolist()


@torch.no_grad()
def test_an_earlier_layer_is_its_stream_through_norm_and_unembedding():
    module, ids = tiny_family("gemma2"), some_ids(1, 4)
    site_map = site_map_of(module)
    hidden = module(ids, output_hidden_states=True).hidden_states[1][0]
    logits = module.lm_head(module.model.norm(hidden))
    logits = torch.tanh(logits / 2.0) * 2.0
    stream = streams(site_map, ids)
    found = read(site_map, stream[0], stream[-1], [[7, 9]] * 4, 2)
    p, q = logits.softmax(-1), module(ids).logits[0].softmax(-1)
    torch.testing.assert_close(found.answer_prob, p[:, 7] + p[:, 9], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.entropy, -(p * p.log()).sum(-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.kl_to_end, (q * (q / p).log()).sum(-1), atol=1e-5, rtol=1e-4)


def test_crossover_is_the_first_layer_at_the_top():
    assert crossover([5, 0, 2, 0]) == 1 and crossover([3, 1]) is None


def test_many_positions_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    module, ids = tiny_family("gemma2"), some_ids(1, 12)
    site_map = site_map_of(module)
    stream, answers = streams(site_map, ids), [[int(token)] for token in ids[0]]
    whole = read(site_map, stream[1], stream[-1], answers, 3)
    monkeypatch.setattr(halving, "ON_A_CPU", 5 * 16 * module.lm_head.out_features)
    assert [len(part) for part, _ in fitting_logits(site_map, 12).each(range(12), lambda part: None)] == [5, 5, 2]
    for mine, want in zip(read(site_map, stream[1], stream[-1], answers, 3), whole, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-6)
