"""GPT-NeoX, Bloom, Falcon, Persimmon: one `query_key_value`, head by head unless stated otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .family import Attention, Family, Layout

INTERLEAVED = Attention("attention", qkv="query_key_value", o="dense", layout="interleaved")

GPT_NEOX = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks="gpt_neox.layers",
    embed=("gpt_neox.embed_in",),
    unembed=("embed_out", "lm_head"),
    final_norm="gpt_neox.final_layer_norm",
    attention=(INTERLEAVED,),
    mlp=("mlp",),
)

GPT_NEOX_JAPANESE = replace(
    GPT_NEOX,
    name="gpt_neox_japanese",
    model_types=("gpt_neox_japanese",),
    blocks="gpt_neox_japanese.layers",
    embed=("gpt_neox_japanese.embed_in",),
    final_norm="gpt_neox_japanese.final_layer_norm",
)

BLOOM = Family(
    name="bloom",
    model_types=("bloom",),
    blocks="transformer.h",
    embed=("transformer.word_embeddings",),
    unembed=("lm_head",),
    final_norm="transformer.ln_f",
    attention=(replace(INTERLEAVED, path="self_attention"),),
    mlp=("mlp",),
    adds_inside=True,
)


def _shares_keys(config: Any) -> bool:
    return bool(getattr(config, "new_decoder_architecture", False))


def _has_one_key(config: Any) -> bool:
    return not _shares_keys(config) and bool(getattr(config, "multi_query", False))


_FALCON_LAYOUTS: tuple[tuple[Layout, Callable[[Any], bool] | None], ...] = (
    ("grouped", _shares_keys),
    ("concatenated", _has_one_key),
    ("interleaved", None),
)
FALCON = tuple(
    replace(
        BLOOM,
        name="falcon",
        adds_inside=False,
        in_place=True,
        model_types=("falcon",),
        attention=(replace(BLOOM.attention[0], layout=layout),),
        when=when,
    )
    for layout, when in _FALCON_LAYOUTS
)
"""Falcon-40B and later share key-value heads, Falcon-7B has a single one, Falcon-RW one a query head."""

PERSIMMON = replace(
    GPT_NEOX,
    name="persimmon",
    model_types=("persimmon",),
    blocks="model.layers",
    embed=("model.embed_tokens",),
    final_norm="model.final_layernorm",
    attention=(replace(INTERLEAVED, path="self_attn"),),
)

FAMILIES = (GPT_NEOX, GPT_NEOX_JAPANESE, BLOOM, *FALCON, PERSIMMON)
