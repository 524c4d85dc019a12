"""The architecture of `builtin:tiny` and the weights that its training starts from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

EOS_ID = 0
VOCAB = 2048
EMBEDDING_STD = 0.1
COMMON = 0.7  # length of the direction that all embeddings share, in units of their own spread
BACK, BACK_WRITE, MATCH, COPY = 0.8, 0.34, 1.2, 5.0  # how far the first weights lean towards induction: see initial_model


def config() -> LlamaConfig:
    """1.02 M parameters with grouped-query attention and tied embeddings."""
    return LlamaConfig(
        vocab_size=VOCAB, hidden_size=128, intermediate_size=280, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2,
        head_dim=32, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=EOS_ID, eos_token_id=EOS_ID,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, initializer_range=0.02, use_cache=False,
    )  # fmt: skip


def initial_model() -> LlamaForCausalLM:
    """Random weights with a lean towards induction.

    Embeddings start larger than is usual (a tied unembedding of 0.02 hardly raises a copied token's logit) and share a direction, from
    which attention to a position can be made. On top of the random weights the first layer's first key group looks one token back and
    writes what it read to a subspace of its own; the second layer's first group compares that subspace with the current token; and
    later output projections start near the transpose of the value projections, so that what is attended to is copied ("mimetic"
    initialisation, Trockman & Kolter 2023, arXiv:2305.09828).

    Why: from purely random weights the same kinds of text had shown no induction after two million tokens, only a blurred copying of
    everything in sight. With the lean a repetition is 0.3 nats cheaper than its original at first, and 4.7 after 100 steps. Facts,
    text and everything that becomes of these heads are learnt.
    """
    model = LlamaForCausalLM(config())
    width, head = model.config.hidden_size, model.config.head_dim
    group = model.config.num_attention_heads // model.config.num_key_value_heads * head  # rows of the queries that share a key
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        shared = F.normalize(torch.randn(width), dim=0)
        embeddings.normal_(std=EMBEDDING_STD).add_(EMBEDDING_STD * COMMON * width**0.5 * shared)
        other = torch.randn(width, width)
        axes = torch.linalg.qr(other - torch.outer(shared, shared @ other))[0]
        read, slot = axes[:, :head].T, axes[:, head : 2 * head]
        attention = [layer.self_attn for layer in model.model.layers]
        for layer in attention[1:]:
            for g, value in enumerate(layer.v_proj.weight.split(head)):
                for h in range(0, group, head):
                    layer.o_proj.weight[:, g * group + h : g * group + h + head] += COPY * value.T
        back, match = attention[0], attention[1]
        back.v_proj.weight[:head] = BACK_WRITE * read
        match.k_proj.weight[:head] += MATCH * slot.T
        for h in range(0, group, head):
            back.o_proj.weight[:, h : h + head] = BACK_WRITE * slot
            match.q_proj.weight[h : h + head] += MATCH * read
            for i, angle in enumerate(10000.0 ** (-2.0 * i / head) for i in range(4)):  # rotary pairs i and i + head / 2
                back.q_proj.weight[h + i] += BACK * math.cos(angle) * shared
                back.q_proj.weight[h + i + head // 2] -= BACK * math.sin(angle) * shared
        for i in range(4):
            back.k_proj.weight[i] += BACK * shared
    return model
