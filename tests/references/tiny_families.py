"""A tiny random model of every architecture family: three layers of width 32, grouped heads where the family has them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

_WIDE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_GPT: dict[str, Any] = {
    "vocab_size": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 32, "rotary_dim": 4, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_ALONE = {key: value for key, value in _WIDE.items() if key != "num_key_value_heads"}
_ALIBI = {"vocab_size": 64, "hidden_size": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
_GEMMA = {**_WIDE, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4}

FAMILIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "phi3", "olmo", "olmo2", "olmo3", "cohere", "cohere2", "stablelm", "starcoder2", "smollm3"), _WIDE
    ),
    **dict.fromkeys(("nemotron", "exaone4", "ernie4_5", "seed_oss", "arcee", "phi"), _WIDE),
    **dict.fromkeys(("gpt2", "gptj", "gpt_bigcode", "codegen"), _GPT),
    "qwen3": {**_WIDE, "head_dim": 16},
    "gemma": {**_WIDE, "head_dim": 16},
    "gemma2": {**_GEMMA, "final_logit_softcapping": 2.0},
    "gemma3_text": _GEMMA,
    "glm": {**_WIDE, "head_dim": 8},
    "glm4": {**_WIDE, "head_dim": 8},
    "helium": {**_WIDE, "head_dim": 8},
    "granite": {**_WIDE, "residual_multiplier": 0.22, "logits_scaling": 3.0},
    "gpt_neox": _ALONE,
    "gpt_neo": {
        "vocab_size": 64, "hidden_size": 32, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 4,
        "max_position_embeddings": 32, "intermediate_size": 48, "bos_token_id": 0, "eos_token_id": 0,
    },
    "opt": {**_ALONE, "ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1},
    "falcon": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 0},
    "bloom": _ALIBI,
    "mpt": {"vocab_size": 64, "d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 32},
    "mixtral": {**_WIDE, "num_local_experts": 4},
    "qwen3_moe": {**_WIDE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8},
}  # fmt: skip
PARALLEL = ("cohere", "cohere2", "phi", "gptj", "codegen", "gpt_neox", "falcon")


def shows_patterns(family: str) -> bool:
    """Whether this transformers runs the family's attention by its common interface, which shows patterns (5.24: all but four)."""
    import inspect

    return "ALL_ATTENTION_FUNCTIONS" in inspect.getsource(inspect.getmodule(type(tiny_family(family))) or type(tiny_family(family)))


@cache
def tiny_family(family: str) -> Any:
    """A random causal model of the family in eval mode, every weight far from its initial value, so that no term is negligible."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family])).eval().requires_grad_(False)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


def some_ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Random token ids (rows, length) that avoid the special ids 0 and 1."""
    return torch.randint(2, 64, (rows, length), generator=torch.Generator().manual_seed(seed))
