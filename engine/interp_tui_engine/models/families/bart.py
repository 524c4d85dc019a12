"""BART and its kin, as decoders: `model.decoder.layers`, with `fc1` and `fc2` in the block itself.

Cross-attention, where a block has it, has heads of its own kind; it belongs to its layer, and not to the heads named here.
"""

from __future__ import annotations

from dataclasses import replace

from .family import Attention, Family

ATTENTION = Attention("self_attn", q="q_proj", k="k_proj", v="v_proj", o="out_proj", idle=("k_proj.bias",))

BART = Family(
    name="bart",
    model_types=("bart", "blenderbot-small", "marian", "mvp", "plbart", "trocr"),
    blocks="model.decoder.layers",
    embed=("model.decoder.embed_tokens",),
    unembed=("lm_head", "output_projection"),
    final_norm="",
    attention=(ATTENTION,),
    mlp=("fc1", "fc2"),
)

PRE_NORM = replace(
    BART,
    name="mbart",
    model_types=("bigbird_pegasus", "blenderbot", "mbart", "pegasus", "whisper"),
    unembed=("lm_head", "proj_out"),
    final_norm="model.decoder.layer_norm",
)
OPT = replace(BART, name="opt", model_types=("opt",), final_norm="model.decoder.final_layer_norm")
XGLM = replace(
    BART, name="xglm", model_types=("xglm",), blocks="model.layers", embed=("model.embed_tokens",), final_norm="model.layer_norm"
)
BIOGPT = replace(
    BART, name="biogpt", model_types=("biogpt",), blocks="biogpt.layers", embed=("biogpt.embed_tokens",), final_norm="biogpt.layer_norm"
)

FAMILIES = (BART, PRE_NORM, OPT, XGLM, BIOGPT)
