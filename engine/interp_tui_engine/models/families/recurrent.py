"""Models without softmax heads: Mamba and RWKV. Layers and mixers can be chosen, heads cannot."""

from __future__ import annotations

from .family import Family

MAMBA = Family(
    name="mamba",
    model_types=("falcon_mamba", "mamba", "mamba2"),
    blocks="backbone.layers",
    embed=("backbone.embeddings",),
    unembed=("lm_head",),
    final_norm="backbone.norm_f",
    mixers=("mixer",),
)

RWKV = Family(
    name="rwkv",
    model_types=("rwkv",),
    blocks="rwkv.blocks",
    embed=("rwkv.embeddings",),
    unembed=("head",),
    final_norm="rwkv.ln_out",
    mixers=("attention",),
    mlp=("feed_forward",),
)

FAMILIES = (MAMBA, RWKV)
