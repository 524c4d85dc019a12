"""Parameters' names as the model itself has them, where another library has put its own modules around the model's. Torch-free.

    TransformerLens' bridge     model.layers.0._original_component.self_attn.q._original_component.weight
    PEFT                        model.layers.0.self_attn.q_proj.base_layer.weight
    torch.compile, in parts     model.layers.0._orig_mod.self_attn.q_proj.weight

A bridge keeps a part under several names, of which one is the model's own.
"""

from __future__ import annotations

from collections.abc import Iterable

WRAPPERS = frozenset({"_original_component", "base_layer", "_orig_mod", "_checkpoint_wrapped_module"})
ADAPTERS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
"""PEFT's own matrices beside a `base_layer`."""


def own_name(name: str) -> str:
    """A parameter's name without what is around the modules on its way."""
    return ".".join(piece for piece in name.split(".") if piece not in WRAPPERS)


def adapters_in(names: Iterable[str]) -> list[str]:
    """Of these parameters, those that an adapter adds to the model's own."""
    return [name for name in names if any(piece in ADAPTERS for piece in name.split("."))]
