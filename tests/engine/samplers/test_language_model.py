"""The fused path on real architectures, and what happens where it does not apply."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from sampler_models import SERIAL, TinyLM, config, run, tiny_lm, token_rows
from torch import nn

from interp_tui_engine.samplers.target.language_model import (
    find_head,
    forward_logits,
    functional_losses,
    fused_losses,
    plain_losses,
    with_parameters,
)
from interp_tui_engine.samplers.target.problem import ModuleTarget

SMALL = dict(
    vocab_size=48,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
ARCHITECTURES = {
    "llama tied": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "qwen3 wide heads": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**SMALL, head_dim=16)),
    "gpt2 dropout": lambda: tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=48, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "gpt-neox untied": lambda: tf.GPTNeoXForCausalLM(
        tf.GPTNeoXConfig(
            vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64
        )
    ),
    "gemma2 softcap": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.5)),
    "granite scale": lambda: tf.GraniteForCausalLM(tf.GraniteConfig(**SMALL, logits_scaling=8.0)),
    "cohere scale": lambda: tf.CohereForCausalLM(tf.CohereConfig(**SMALL, logit_scale=0.25)),
    "phi bias": lambda: tf.PhiForCausalLM(tf.PhiConfig(**SMALL)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fused_losses_and_gradients_equal_the_models_own(name):
    torch.manual_seed(0)
    model = ARCHITECTURES[name]().eval()
    ids = torch.randint(3, 48, (3, 12))
    head = find_head(model, ids[:, :8], 1 << 20)
    assert head is not None
    assert ("softcap" in name) == (head.softcap is not None) and ("scale" in name) == (head.scale != 1)
    gradients = []
    for losses in (
        fused_losses(model, head, ids, 1 << 20),
        plain_losses(model, ids),
        functional_losses(model, dict(model.named_parameters()), ids),
    ):
        model.zero_grad()
        losses.mean().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        want = -torch.log_softmax(model(ids).logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
        torch.testing.assert_close(losses, want, rtol=1e-4, atol=1e-4)
    for other in gradients[1:]:
        assert other.keys() == gradients[0].keys()
        for n, gradient in other.items():
            torch.testing.assert_close(gradients[0][n], gradient, rtol=1e-3, atol=1e-5, msg=n)


def test_an_unknown_head_falls_back_to_the_models_logits():
    class Odd(tf.LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = out.logits * 3 + 1
            return out

    torch.manual_seed(0)
    rows = torch.randint(0, 48, (16, 9))
    p = ModuleTarget(Odd(tf.LlamaConfig(**SMALL)), rows, {}, 4)
    assert p.head is None
    assert run(p, config(num_chains=1, num_draws=2), executor=SERIAL).snapshot.chains[0].draws == 2


def test_any_module_that_returns_logits_will_do():
    class Output(nn.Module):
        def __init__(self, as_tuple: bool) -> None:
            super().__init__()
            self.inner, self.as_tuple = tiny_lm(), as_tuple

        def forward(self, ids):
            logits = self.inner(ids)
            return (logits, None) if self.as_tuple else type("Out", (), {"logits": logits})()

    rows = token_rows()
    want = run(ModuleTarget(tiny_lm(), rows, {}, 4), config(num_chains=1)).snapshot.trace
    for as_tuple in (True, False):
        got = run(ModuleTarget(Output(as_tuple), rows, {}, 4), config(num_chains=1)).snapshot.trace
        assert (got == want).all()
    assert forward_logits(tiny_lm(), rows[:1]).shape == (1, 9, 24)


def test_a_copy_shares_what_it_does_not_replace():
    model = tiny_lm(dropout=0.3)
    leaf = nn.Parameter(torch.zeros(12))
    copy = with_parameters(model, {"mix.bias": leaf})
    assert isinstance(copy, TinyLM) and copy.mix.bias is leaf and not copy.training
    assert copy.embed.weight.data_ptr() == model.embed.weight.data_ptr() and not copy.embed.weight.requires_grad
    assert model.embed.weight.requires_grad
