"""GPT-J, CodeGen, GPT-Neo, MPT, DBRX: blocks under `transformer`."""

from __future__ import annotations

from dataclasses import replace

from .family import Attention, Family

GPTJ = Family(
    name="gptj",
    model_types=("gptj",),
    blocks="transformer.h",
    embed=("transformer.wte",),
    unembed=("lm_head",),
    final_norm="transformer.ln_f",
    attention=(Attention("attn", q="q_proj", k="k_proj", v="v_proj", o="out_proj"),),
    mlp=("mlp",),
    parallel=("gptj", "codegen"),
)

CODEGEN = replace(
    GPTJ, name="codegen", model_types=("codegen",), attention=(Attention("attn", qkv="qkv_proj", o="out_proj", layout="sharded"),)
)

GPT_NEO = replace(GPTJ, name="gpt_neo", model_types=("gpt_neo",), attention=(replace(GPTJ.attention[0], path="attn.attention"),))

MPT = replace(
    GPTJ,
    name="mpt",
    model_types=("mpt",),
    blocks="transformer.blocks",
    final_norm="transformer.norm_f",
    attention=(Attention("attn", qkv="Wqkv", o="out_proj", layout="concatenated"),),
    mlp=("ffn",),
    adds_inside=True,
)

DBRX = replace(
    MPT,
    name="dbrx",
    adds_inside=False,
    model_types=("dbrx",),
    attention=(Attention("norm_attn_norm.attn", qkv="Wqkv", o="out_proj", layout="concatenated"),),
)

FAMILIES = (GPTJ, CODEGEN, GPT_NEO, MPT, DBRX)
