"""What a transformers configuration says of a language model's shape, under whichever of several names its family has for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError


def text_config(module: Any) -> Any:
    """The configuration of a transformers module's language model. Raises UserError for a module that has none."""
    if not hasattr(module, "config"):
        name = type(module).__name__
        hooked = "; load_model(source, backend='transformer_lens') gives TransformerLens' own" if hasattr(module, "cfg") else ""
        raise UserError(
            f"a {name} cannot be looked into: it has no configuration that says where its layers are",
            f"give a transformers model{hooked}; any module that returns logits can be sampled",
        )
    return module.config.get_text_config() if hasattr(module.config, "get_text_config") else module.config


def head_counts(config: Any) -> tuple[int, int]:
    """How many heads, and how many K/V heads."""
    heads = int(_setting(config, ("num_attention_heads", "n_head", "num_heads", "n_heads")))
    return heads, _kv_heads(config, heads)


def width_of(config: Any) -> int:
    """The width of the residual stream."""
    return int(_setting(config, ("hidden_size", "n_embd", "d_model")))


def finish_of(config: Any) -> Callable[[Tensor], Tensor]:
    """What a model of this configuration does to its logits at last. Logits in and out: (..., vocabulary)."""
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)

    def finish(logits: Tensor) -> Tensor:
        if scale is not None:
            logits = logits * scale
        if divisor is not None:
            logits = logits / divisor
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return finish


def _kv_heads(config: Any, heads: int) -> int:
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    count = _setting(config, ("num_key_value_heads", "num_kv_heads", "n_head_kv"), default=heads)
    return heads if count is None else int(count)


_REQUIRED: Any = object()


def _setting(config: Any, names: Sequence[str], default: Any = _REQUIRED) -> Any:
    for name in names:
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    if default is _REQUIRED:
        raise UserError(f"the configuration of {config.model_type} names none of {', '.join(names)}", "this architecture is not known here")
    return default
