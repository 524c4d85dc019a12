"""Llama and the many that kept its names: q_proj, k_proj, v_proj, o_proj in `model.layers.N.self_attn`."""

from __future__ import annotations

from .family import Attention, Family

ATTENTION = Attention("self_attn", q="q_proj", k="k_proj", v="v_proj", o="o_proj", per_head=("sinks", "gate_proj", "g_proj", "gate_bias"))
"""Sinks (gpt_oss) hold one number a head; gates on the attention output have a head's rows (afmoe) or one row a head (laguna)."""

FEED_FORWARD = ("mlp", "feed_forward", "block_sparse_moe", "shared_mlp", "moe", "shared_moe", "feedforward")
MIXERS = ("mamba", "linear_attn", "conv", "temporal_block", "short_conv")

LLAMA = Family(
    name="llama",
    model_types=(
        *("afmoe", "apertus", "arcee", "aria_text", "beam", "bitnet", "code_llama", "cohere", "cohere2", "cohere2_moe", "cwm", "dots1"),
        *("ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "flex_olmo", "flint", "gemma", "gemma2", "gemma3_text", "gemma3n_text"),
        *("gemma4_text", "gemma4_unified_text", "glm", "glm4", "glm4_moe", "gpt_oss", "granite", "granite_swa", "granitemoe"),
        *("granitemoe_swa", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hyperclovax", "internlm3"),
        *("iquestcoder", "jais2", "kolibri1", "laguna", "llama", "llama4_text", "mellum", "mimo_v2_flash", "minimax_m2"),
        *("minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral", "nanochat", "nemotron", "olmo", "olmo2", "olmo3"),
        *("olmoe", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2"),
        *("vaultgemma",),
    ),
    blocks="model.layers",
    embed=("model.embed_tokens",),
    unembed=("lm_head",),
    final_norm="model.norm",
    attention=(ATTENTION,),
    mlp=FEED_FORWARD,
    parallel=("cohere", "cohere2"),
)

FAMILIES = (LLAMA,)
