"""Decoders with names of their own: CPM-Ant, CTRL, XLM, Moshi, ModernBERT's decoder."""

from __future__ import annotations

from dataclasses import replace

from .family import Attention, Family
from .llama import LLAMA

CPMANT = Family(
    name="cpmant",
    model_types=("cpmant",),
    blocks="cpmant.encoder.layers",
    embed=("cpmant.input_embedding",),
    unembed=("lm_head",),
    final_norm="cpmant.encoder.output_layernorm",
    attention=(Attention("self_att.self_attention", q="project_q", k="project_k", v="project_v", o="attention_out"),),
    mlp=("ffn",),
)

CTRL = Family(
    name="ctrl",
    model_types=("ctrl",),
    blocks="transformer.h",
    embed=("transformer.w",),
    unembed=("lm_head",),
    final_norm="transformer.layernorm",
    attention=(Attention("multi_head_attention", q="Wq", k="Wk", v="Wv", o="dense", idle=("Wk.bias",)),),
    mlp=("ffn",),
)

XLM = Family(
    name="xlm",
    model_types=("xlm",),
    blocks="transformer.attentions",
    embed=("transformer.embeddings",),
    unembed=("pred_layer.proj",),
    final_norm="",
    attention=(Attention("transformer.attentions.{layer}", q="q_lin", k="k_lin", v="v_lin", o="out_lin", idle=("k_lin.bias",)),),
    mlp=("transformer.ffns.{layer}",),
    beside=("transformer.ffns.{layer}", "transformer.layer_norm1.{layer}", "transformer.layer_norm2.{layer}"),
)
"""One list for each kind of part instead of a list of blocks."""

MOSHI = replace(
    LLAMA,
    name="moshi",
    model_types=("moshi",),
    attention=(Attention("self_attn", q="q_proj.linear", k="k_proj.linear", v="v_proj.linear", o="o_proj.linear"),),
)

MODERNBERT = replace(
    LLAMA,
    name="modernbert-decoder",
    model_types=("modernbert-decoder",),
    embed=("model.embeddings.tok_embeddings",),
    unembed=("decoder",),
    final_norm="model.final_norm",
    attention=(Attention("attn", q="q_proj", k="k_proj", v="v_proj", o="Wo"),),
)

FAMILIES = (CPMANT, CTRL, XLM, MOSHI, MODERNBERT)
