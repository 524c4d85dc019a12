"""The models and data that both sides sample: built from a config and a seed, so the same in both environments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

POSITIONS = 64


@dataclass(frozen=True)
class Shape:
    """A model family's size, and the work of one unit: `chains` chains of `draws` draws of `batch` rows, one observable batch a draw."""

    name: str
    title: str
    family: str
    config: dict[str, Any]
    batch: int
    chains: int
    draws: int
    rounds: int


def _llama(vocab: int, d: int, inter: int, layers: int, heads: int, kv: int, head_dim: int) -> dict[str, Any]:
    return {
        "vocab_size": vocab, "hidden_size": d, "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "head_dim": head_dim, "max_position_embeddings": 512, "tie_word_embeddings": True, "use_cache": False,
    }  # fmt: skip


_GPT2 = {
    "vocab_size": 2048, "n_positions": 128, "n_embd": 128, "n_layer": 2, "n_head": 4, "activation_function": "gelu_new", "use_cache": False,
    "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
}  # fmt: skip

SHAPES = {
    s.name: s
    for s in (
        Shape("tiny", "Llama 1.0 M, 16×64 tokens, 4 chains", "llama", _llama(2048, 128, 384, 4, 8, 2, 16), 16, 4, 30, 7),
        Shape("gelu", "GPT-2 0.7 M (tanh-GELU), 16×64 tokens, 4 chains", "gpt2", _GPT2, 16, 4, 30, 7),
        Shape("smollm2", "SmolLM2-135M, 4×64 tokens, 2 chains", "llama", _llama(49152, 576, 1536, 30, 9, 3, 64), 4, 2, 4, 4),
    )
}


def build(shape: Shape) -> nn.Module:
    """The model with random float32 weights, in train mode as `from_config` leaves it."""
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(**shape.config) if shape.family == "llama" else GPT2Config(**shape.config)
    return AutoModelForCausalLM.from_config(config)


def load(folder: Path) -> nn.Module:
    """A model saved by `save_pretrained`, in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def random_rows(vocab: int, rows: int = 512) -> Any:
    """Token rows as a devinterp user has them: a Hugging Face Dataset with `input_ids`, read as tensors."""
    generator = torch.Generator().manual_seed(1)
    return as_dataset(torch.randint(vocab, (rows, POSITIONS + 1), generator=generator))


def as_dataset(ids: torch.Tensor) -> Any:
    """Token rows (n, t+1) as a Dataset."""
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": ids.numpy()}).with_format("torch")


def matmuls(model: nn.Module) -> list[tuple[int, int]]:
    """(inputs, outputs) of every matrix product with a weight, the unembedding included, embeddings not."""
    found = []
    for module in model.modules():
        if isinstance(module, nn.Linear):
            found.append((module.in_features, module.out_features))
        elif type(module).__name__ == "Conv1D":  # GPT-2's
            found.append((module.weight.shape[0], module.weight.shape[1]))
    return found
