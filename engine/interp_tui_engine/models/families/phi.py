"""Phi: Llama's names with `dense` for the output, and from Phi-3 on fused projections."""

from __future__ import annotations

from dataclasses import replace

from .family import Attention
from .llama import ATTENTION, LLAMA

PHI = replace(
    LLAMA,
    name="phi",
    model_types=("phi",),
    final_norm="model.final_layernorm",
    attention=(replace(ATTENTION, o="dense", per_head=()),),
    parallel=("phi",),
)
PHI3 = replace(
    LLAMA,
    name="phi3",
    model_types=("phi3",),
    attention=(Attention("self_attn", qkv="qkv_proj", o="o_proj", layout="concatenated"),),
)

FAMILIES = (PHI, PHI3)
