"""Transformers whose weights are written by hand to hold a known circuit, edges included, among heads and MLPs that do nothing for it.

Llamas of three layers with four heads, pairs of which share keys and values, over ten tokens. The residual stream holds one-hot codes of
tokens in named places, besides a constant: `token` (from the embedding), `previous` (written by a previous-token head), `found` (between
the hops of a look-up), `answer` (what is unembedded), `unread` and `noise`, which decoys write and nobody reads.

A previous-token head attends by rotation alone: queries and keys are constants, their phases set such that the score is greatest one token
back. Other heads match one code against another, in dimensions that rotate too slowly to matter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from interp_tui_engine.circuits.graph import EMBED, Edge
from interp_tui_engine.circuits.prepared import Example
from interp_tui_engine.sites.answers import Answer
from interp_tui_engine.sites.site import Site

TOKENS, HEADS, KV, DIM, LAYERS = 10, 4, 2, 32, 3
PLACES = ("token", "previous", "found", "answer", "unread")
CONSTANT, NOISE = len(PLACES) * TOKENS, slice(len(PLACES) * TOKENS + 1, len(PLACES) * TOKENS + 6)
WIDTH = 56
FAST, SLOW = range(4), slice(6, 6 + TOKENS)
"""Dimensions of a head that tell positions apart, and those that carry codes unrotated."""
BASE = 1e8
LEVEL = 6.0
"""Of the constant: great beside the codes, so that no norm depends on who has written what."""
POSITION, MATCH, WRITE, UNEMBED = 2.2, 32.0, 0.8, 7.0
TABLE_READ, TABLE_BAR, TABLE_OPEN, TABLE_WRITE = 6.7, 0.54, 0.5, 0.07


class Known(NamedTuple):
    """A model, the behaviour it was built for, and the circuit that was written into it."""

    module: torch.nn.Module
    examples: list[Example]
    edges: frozenset[Edge]


def induction() -> Known:
    """… a b … a → b: a previous-token head tells an induction head's keys what came before each token."""
    module = _empty()
    _previous(module, 0, 1)
    _match(module, 1, 2, query="token", key="previous", value="token", write="answer")
    _decoys(module, {(0, 1), (1, 2)}, set())
    edges = [
        Edge(EMBED, Site("v", 0, 0)),
        Edge(Site("z", 0, 1), Site("k", 1, 1)),
        Edge(EMBED, Site("q", 1, 2)),
        Edge(EMBED, Site("v", 1, 1)),
        Edge(Site("z", 1, 2), None),
    ]
    return Known(module, _examples(answer_at=2), frozenset(edges))


def induction_by_its_key() -> Known:
    """The same where only the first a is corrupted: what the queries and values read does not change, and is no part of it."""
    whole = induction()
    examples = []
    for one in whole.examples:
        corrupt = list(one.clean)
        corrupt[1] = next(t for t in range(TOKENS) if t not in one.clean)
        examples.append(Example(one.clean, tuple(corrupt), Answer(one.answer.right, (one.clean[3],))))
    told = {Site("v", 0, 0), Site("k", 1, 1), None}
    return Known(whole.module, examples, frozenset(edge for edge in whole.edges if edge.receiver in told))


def two_hops() -> Known:
    """… a b c … a → c: what follows a is found, then what follows that."""
    module = _empty()
    _previous(module, 0, 1)
    _match(module, 1, 2, query="token", key="previous", value="token", write="found")
    _match(module, 2, 0, query="found", key="previous", value="token", write="answer")
    _decoys(module, {(0, 1), (1, 2), (2, 0)}, set())
    edges = [
        Edge(EMBED, Site("v", 0, 0)),
        Edge(Site("z", 0, 1), Site("k", 1, 1)),
        Edge(EMBED, Site("q", 1, 2)),
        Edge(EMBED, Site("v", 1, 1)),
        Edge(Site("z", 0, 1), Site("k", 2, 0)),
        Edge(Site("z", 1, 2), Site("q", 2, 0)),
        Edge(EMBED, Site("v", 2, 0)),
        Edge(Site("z", 2, 0), None),
    ]
    return Known(module, _examples(answer_at=3), frozenset(edges))


def look_up() -> Known:
    """… a b … a → the entry of b in a table that an MLP holds: token t stands for t + 3."""
    module = _empty()
    _previous(module, 0, 1)
    _match(module, 1, 2, query="token", key="previous", value="token", write="found")
    _table(module, 2, read="found", write="answer", ahead=3)
    _decoys(module, {(0, 1), (1, 2)}, {2})
    mlp = Site("mlp_out", 2)
    edges = [
        Edge(EMBED, Site("v", 0, 0)),
        Edge(Site("z", 0, 1), Site("k", 1, 1)),
        Edge(EMBED, Site("q", 1, 2)),
        Edge(EMBED, Site("v", 1, 1)),
        Edge(Site("z", 1, 2), mlp),
        Edge(mlp, None),
    ]
    return Known(module, _examples(answer_at=2, ahead=3), frozenset(edges))


def copy_behind_a_decoy() -> Known:
    """… b a → b: a head copies the token before; another does the same, louder and a layer earlier, to where nobody reads."""
    module = _empty()
    _previous(module, 0, 3, write="unread", loud=4.0)
    _previous(module, 1, 2, write="answer")
    _decoys(module, {(0, 3), (1, 2)}, set())
    edges = [Edge(EMBED, Site("v", 1, 1)), Edge(Site("z", 1, 2), None)]
    return Known(module, _examples(answer_at=3), frozenset(edges))


KNOWN = {made.__name__: made for made in (induction, induction_by_its_key, two_hops, look_up, copy_behind_a_decoy)}


def _examples(answer_at: int, ahead: int = 0) -> list[Example]:
    """Pairs x a b c a and v w x y z, no token in common: in a corrupt prompt that repeats one too, queries and keys would agree again."""
    found = []
    for seed in range(3):
        order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(seed)).tolist()
        clean, corrupt = [*order[:4], order[1]], order[4:9]
        right, wrong = ((side[answer_at] + ahead) % TOKENS for side in (clean, corrupt))
        found.append(Example(tuple(clean), tuple(corrupt), Answer((right,), (wrong,))))
    return found


def _empty() -> torch.nn.Module:
    """Nobody says anything but the embedding."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=TOKENS, hidden_size=WIDTH, intermediate_size=TOKENS, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV, head_dim=DIM, max_position_embeddings=16, rope_parameters={"rope_type": "default", "rope_theta": BASE},
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    module = LlamaForCausalLM(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.fill_(1.0 if parameter.dim() == 1 else 0.0)
    module.model.embed_tokens.weight[:, _at("token")] = torch.eye(TOKENS)
    module.model.embed_tokens.weight[:, CONSTANT] = LEVEL
    module.lm_head.weight[:, _at("answer")] = UNEMBED * torch.eye(TOKENS)
    return module


def _at(place: str) -> slice:
    start = PLACES.index(place) * TOKENS
    return slice(start, start + TOKENS)


def _rows(matrix: Tensor, head: int) -> Tensor:
    """What a projection computes for one head: (head_dim, d_model)."""
    return matrix[DIM * head : DIM * (head + 1)]


def _previous(module: torch.nn.Module, layer: int, head: int, write: str = "previous", loud: float = 1.0) -> None:
    attention = module.model.layers[layer].self_attn
    group = head // (HEADS // KV)
    for i in FAST:
        phase = torch.tensor(BASE ** (-i / (DIM // 2)))
        _rows(attention.q_proj.weight, head)[i, CONSTANT] = POSITION * phase.cos()
        _rows(attention.q_proj.weight, head)[i + DIM // 2, CONSTANT] = -POSITION * phase.sin()
        _rows(attention.k_proj.weight, group)[i, CONSTANT] = 1.0
    _carry(attention, head, group, "token", write, loud)


def _match(module: torch.nn.Module, layer: int, head: int, *, query: str, key: str, value: str, write: str) -> None:
    attention = module.model.layers[layer].self_attn
    group = head // (HEADS // KV)
    _rows(attention.q_proj.weight, head)[SLOW, _at(query)] = MATCH * torch.eye(TOKENS)
    _rows(attention.k_proj.weight, group)[SLOW, _at(key)] = torch.eye(TOKENS)
    _carry(attention, head, group, value, write, 1.0)


def _carry(attention: torch.nn.Module, head: int, group: int, value: str, write: str, loud: float) -> None:
    _rows(attention.v_proj.weight, group)[:TOKENS, _at(value)] = torch.eye(TOKENS)
    attention.o_proj.weight[_at(write), DIM * head : DIM * head + TOKENS] = loud * WRITE * torch.eye(TOKENS)


def _table(module: torch.nn.Module, layer: int, *, read: str, write: str, ahead: int) -> None:
    mlp = module.model.layers[layer].mlp
    mlp.gate_proj.weight[:, _at(read)] = TABLE_READ * torch.eye(TOKENS)
    mlp.gate_proj.weight[:, CONSTANT] = -TABLE_BAR
    mlp.up_proj.weight[:, CONSTANT] = TABLE_OPEN
    mlp.down_proj.weight[_at(write)] = TABLE_WRITE * torch.eye(TOKENS).roll(ahead, 0)


def _decoys(module: torch.nn.Module, busy: set[tuple[int, int]], tables: set[int]) -> None:
    """Heads and MLPs outside the circuit read at random and write noise, quietly enough to leave norms as they are."""
    draw = torch.Generator().manual_seed(0)
    for layer, block in enumerate(module.model.layers):
        for head in range(HEADS):
            if (layer, head) in busy:
                continue
            _rows(block.self_attn.q_proj.weight, head)[:] = 0.1 * torch.randn(DIM, WIDTH, generator=draw)
            block.self_attn.o_proj.weight[NOISE, DIM * head : DIM * (head + 1)] = 0.01 * torch.randn(5, DIM, generator=draw)
        for group in range(KV):
            if not any((layer, head) in busy for head in range(group * 2, group * 2 + 2)):
                _rows(block.self_attn.k_proj.weight, group)[:] = 0.1 * torch.randn(DIM, WIDTH, generator=draw)
                _rows(block.self_attn.v_proj.weight, group)[:] = 0.1 * torch.randn(DIM, WIDTH, generator=draw)
        if layer not in tables:
            block.mlp.gate_proj.weight[:] = 0.1 * torch.randn(TOKENS, WIDTH, generator=draw)
            block.mlp.up_proj.weight[:] = 0.1 * torch.randn(TOKENS, WIDTH, generator=draw)
            block.mlp.down_proj.weight[NOISE] = 0.01 * torch.randn(5, TOKENS, generator=draw)
