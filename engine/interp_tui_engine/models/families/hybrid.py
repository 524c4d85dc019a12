"""Stacks in which softmax attention alternates with, or runs beside, state spaces, linear attention or convolutions."""

from __future__ import annotations

from dataclasses import replace

from .family import Attention
from .llama import ATTENTION, LLAMA, MIXERS

HYBRID = replace(
    LLAMA,
    name="hybrid",
    model_types=("granitemoehybrid", "olmo_hybrid", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"),
    mixers=MIXERS,
)
"""qwen3_next's q_proj gives each head its query rows and then as many gate rows, so the rows still divide by head."""

BAMBA = replace(HYBRID, name="bamba", model_types=("bamba", "falcon_h1", "jamba"), final_norm="model.final_layernorm")

LFM2 = replace(
    HYBRID,
    name="lfm2",
    model_types=("lfm2", "lfm2_moe"),
    final_norm="model.embedding_norm",
    attention=(replace(ATTENTION, o="out_proj"),),
)

MINIMAX = replace(
    HYBRID,
    name="minimax",
    model_types=("minimax",),
    attention=(ATTENTION, Attention("self_attn", qkv="qkv_proj", o="out_proj", layout="interleaved", per_head=("output_gate",))),
)
"""Its lightning attention has heads too; a norm over all of them mixes what the output projection reads, but not what they compute."""

RECURRENT_GEMMA = replace(
    HYBRID,
    name="recurrent_gemma",
    model_types=("recurrent_gemma",),
    final_norm="model.final_norm",
    attention=(replace(ATTENTION, path="temporal_block"),),
    mlp=("mlp_block",),
)

NEMOTRON_H = replace(
    HYBRID,
    name="nemotron_h",
    model_types=("nemotron_h",),
    embed=("model.embeddings",),
    final_norm="model.norm_f",
    attention=(replace(ATTENTION, path="mixer"),),
    mlp=tuple(
        f"mixer.{part}" for part in ("experts", "shared_experts", "gate", "up_proj", "down_proj", "fc1_latent_proj", "fc2_latent_proj")
    ),
    mixers=tuple(f"mixer.{part}" for part in ("in_proj", "conv1d", "A_log", "D", "dt_bias", "out_proj")),
)
"""Every block holds one `mixer`, which is attention, a state space, or a feed-forward layer: its parts tell which."""

FAMILIES = (HYBRID, BAMBA, LFM2, MINIMAX, RECURRENT_GEMMA, NEMOTRON_H)
