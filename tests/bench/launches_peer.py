"""What a step of devinterp launches: operations of PyTorch, views left out, that each further draw costs. Runs in the peer's environment.

    python -m tests.bench.launches_peer 4 30     (layers of a Llama; a GPU is not needed: which operations run does not depend on where,
                                                  nor on widths, which are small here)

The count of our own side is held by tests/engine/samplers/test_launches.py for the same model.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from devinterp.slt.sampling import sample
from torch.utils._python_dispatch import TorchDispatchMode

from .shapes import as_dataset
from .work import SAMPLING

BATCH, POSITIONS, VOCABULARY = 4, 8, 64


def llama(layers: int) -> torch.nn.Module:
    """The model that both sides count on."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(hidden_size=32, intermediate_size=64, num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=32)
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, tie_word_embeddings=True, **shape))


class Counter(TorchDispatchMode):
    """Counts operations that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view and func.overloadpacket.__name__ not in ("_local_scalar_dense", "_unsafe_view", "lift_fresh")
        return func(*args, **(kwargs or {}))


def launches(layers: int, draws: int, chains: int) -> int:
    """Operations of one call of `sample`."""
    ids = torch.randint(0, VOCABULARY, (40, POSITIONS + 1), generator=torch.Generator().manual_seed(1))
    model, rows = llama(layers), as_dataset(ids)
    with tempfile.TemporaryDirectory() as folder, Counter() as counter:
        sample(
            model, rows, {"train": (rows, 1)}, num_chains=chains, num_draws=draws, batch_size=BATCH,
            device="cpu", output_path=str(Path(folder) / "samples.zarr"), **SAMPLING,
        )  # fmt: skip
    return counter.count


if __name__ == "__main__":
    for layers in map(int, sys.argv[1:]):
        counts = {chains: launches(layers, 4, chains) - launches(layers, 2, chains) for chains in (1, 4)}
        print(json.dumps({"layers": layers, "per_step": {chains: count / 2 for chains, count in counts.items()}}), flush=True)
