"""A randomly initialised model of two layers for each decoder type of transformers that weight restrictions know.

Widths are chosen so that nothing divides by accident: 4 heads of 8 in a stream of 32, 2 key-value heads where the type has them.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

HEADS, KEY_HEADS, HEAD_DIM, WIDTH, LAYERS, VOCABULARY = 4, 2, 8, 32, 2, 64

_NAMES: tuple[tuple[int, str], ...] = (
    (
        LAYERS,
        "num_hidden_layers n_layer num_layers decoder_layers encoder_layers num_decoder_layers num_encoder_layers n_layers num_blocks",
    ),
    (HEADS, "num_attention_heads n_head decoder_attention_heads encoder_attention_heads num_decoder_attention_heads n_heads num_heads"),
    (HEADS, "num_encoder_attention_heads"),
    (KEY_HEADS, "num_key_value_heads n_head_kv num_kv_heads"),
    (WIDTH, "hidden_size d_model n_embd embed_dim emb_dim dim_model word_embed_proj_dim embedding_size embedding_dim"),
    (HEAD_DIM, "head_dim dim_head d_kv d_head kv_channels"),
    (48, "intermediate_size n_inner ffn_dim d_inner encoder_ffn_dim decoder_ffn_dim moe_intermediate_size dim_ff ffn_hidden_size"),
    (48, "shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size dff feed_forward_size"),
    (VOCABULARY, "vocab_size src_vocab_size"),
    (128, "max_position_embeddings n_positions max_seq_len max_source_positions max_target_positions n_ctx"),
    (4, "num_experts num_local_experts moe_num_experts n_routed_experts"),
    (2, "num_experts_per_tok moe_k moe_topk"),
    (1, "pad_token_id bos_token_id eos_token_id decoder_start_token_id"),
)
_LATENT = {
    **dict(q_lora_rank=16, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=6, num_key_value_heads=4, head_dim=4),
    **dict(first_k_dense_replace=1, n_group=1, topk_group=1),
}
_MAMBA = dict(mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8, mamba_expand=2, mamba_d_ssm=64)
_LINEAR = {
    **dict(layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=2),
    **dict(linear_key_head_dim=8, linear_value_head_dim=8),
}
_PER_LAYER = dict(vocab_size_per_layer_input=64, hidden_size_per_layer_input=8, num_kv_shared_layers=0)
_ALTERNATING = dict(layer_types=["sliding_attention", "full_attention"])

_OWN: dict[str, dict[str, Any]] = {
    "axk1": _LATENT,
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "codegen": dict(rotary_dim=4),
    "dbrx": dict(
        attn_config=dict(kv_n_heads=KEY_HEADS, clip_qkv=8, rope_theta=1e4),
        ffn_config=dict(ffn_hidden_size=48, moe_num_experts=4, moe_top_k=2, hidden_size=WIDTH),
    ),
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "dots1": dict(n_shared_experts=1, n_group=1, topk_group=1, first_k_dense_replace=1),
    "falcon_h1": _MAMBA,
    "gemma3n_text": {**_PER_LAYER, **_ALTERNATING, **dict(laurel_rank=4, altup_num_inputs=2, activation_sparsity_pattern=[0.0, 0.0])},
    "gemma4_text": {**_PER_LAYER, **_ALTERNATING, "global_head_dim": 16},
    "gemma4_unified_text": {**_ALTERNATING, "global_head_dim": 16},
    "glm4_moe_lite": _LATENT,
    "gpt_neo": dict(attention_types=[[["global", "local"], 1]]),
    "gptj": dict(rotary_dim=4),
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "attention"]},
    "jamba": dict(attn_layer_offset=1, attn_layer_period=2, expert_layer_offset=1, expert_layer_period=2, mamba_d_state=8),
    "lfm2": dict(layer_types=["conv", "full_attention"]),
    "lfm2_moe": dict(layer_types=["conv", "full_attention"], num_dense_layers=1),
    "mamba2": dict(num_heads=8, head_dim=8, expand=2, state_size=8, n_groups=1),
    "minicpm3": _LATENT,
    "minimax": dict(layer_types=["linear_attention", "full_attention"]),
    "nemotron_h": dict(
        **dict(layers_block_type=["mamba", "attention", "moe"], mamba_num_heads=8, mamba_head_dim=8, n_groups=1, ssm_state_size=8),
        **dict(num_hidden_layers=3, moe_shared_expert_intermediate_size=16, n_group=1, topk_group=1),
    ),
    "olmo_hybrid": dict(layer_types=["linear_attention", "full_attention"]),
    "qwen3_5_moe_text": _LINEAR,
    "qwen3_5_text": _LINEAR,
    "qwen3_next": _LINEAR,
    "recurrent_gemma": dict(block_types=["recurrent", "attention"], lru_width=WIDTH, attention_window_size=64),
    "roc_bert": dict(pronunciation_vocab_size=8, pronunciation_embed_dim=8, shape_vocab_size=8, shape_embed_dim=8, enable_shape=True),
    "xmod": dict(languages=["en_XX"], default_language="en_XX"),
    "youtu": _LATENT,
}


def tiny_config(model_type: str, **settings: Any) -> PreTrainedConfig:
    """A configuration of this type with small numbers under whatever names the type has for them."""
    kind = CONFIG_MAPPING[model_type]
    names = set(inspect.signature(kind.__init__).parameters) | set(getattr(kind, "attribute_map", {}))
    if dataclasses.is_dataclass(kind):
        names |= {field.name for field in dataclasses.fields(kind)}
    small = {name: value for value, words in _NAMES for name in words.split() if name in names}
    config = kind(**{**small, **_OWN.get(model_type, {}), **settings})
    config._attn_implementation = "eager"
    config.is_decoder = True
    return config


def tiny_model(model_type: str, **settings: Any) -> nn.Module:
    """The model, with weights large enough that attention is not uniform. The caller seeds torch."""
    model: nn.Module = AutoModelForCausalLM.from_config(tiny_config(model_type, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4)
    return model
