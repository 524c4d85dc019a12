"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads come from one low-rank latent.

What maps a token to a latent is shared by all heads; each head owns its rows of the up-projections and its columns of the output.
"""

from __future__ import annotations

from dataclasses import replace

from .family import Attention
from .llama import LLAMA

FULL_RANK_QUERIES = Attention("self_attn", q="q_proj", o="o_proj", per_head=("kv_b_proj", "gate_proj", "g_proj"))
LATENT_QUERIES = replace(FULL_RANK_QUERIES, q="q_b_proj")

LATENT = replace(
    LLAMA,
    name="latent",
    model_types=("axk1", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu"),
    attention=(LATENT_QUERIES, FULL_RANK_QUERIES),
)

FAMILIES = (LATENT,)
