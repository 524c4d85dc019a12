"""TransformerLens' side of the patching and caching benches: its bridge around the same model. Runs inside its environment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from .passes_work import FOLDER, Work, answer
from .side import device

RESIDUAL = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")


def _put(value: Tensor, hook: Any, *, clean: Tensor, position: int) -> Tensor:
    value = value.clone()
    value[:, position] = clean[:, position]
    return value


def _put_each(value: Tensor, hook: Any, *, clean: Tensor) -> Tensor:
    value = value.clone()
    each = torch.arange(value.shape[0])
    value[each, each] = clean[0]
    return value


class TransformerLens(Work):
    """'one': a forward pass a patch. 'rows': the positions of a layer as rows of one pass, batched by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.native: Any = TransformerBridge.boot_transformers(str(FOLDER), hf_model=self.module, tokenizer=self.tokenizer, device=device())

    def patch(self, way: str) -> Tensor:
        names = [f"blocks.{layer}.hook_resid_post" for layer in range(self.layers)]
        _, cache = self.native.run_with_cache(self.clean, names_filter=lambda name: name in names)
        positions = self.clean.shape[1]
        grid = torch.zeros(self.layers, positions)
        for layer, name in enumerate(names):
            if way == "rows":
                hooks = [(name, partial(_put_each, clean=cache[name]))]
                grid[layer] = self.gap(self.native.run_with_hooks(self.corrupt.expand(positions, -1), fwd_hooks=hooks)[:, -1])
                continue
            for position in range(positions):
                hooks = [(name, partial(_put, clean=cache[name], position=position))]
                grid[layer, position] = self.gap(self.native.run_with_hooks(self.corrupt, fwd_hooks=hooks)[0, -1])
        return grid

    def cache(self) -> Mapping[str, Tensor]:
        # stopping at the end spares it the logits of 4,096 tokens
        _, cache = self.native.run_with_cache(
            self.ids, names_filter=lambda name: name.endswith(RESIDUAL), stop_at_layer=self.layers, return_type=None
        )
        return dict(cache.items())

    def logits(self) -> Tensor:
        return self.native(self.clean)[0, -1]


if __name__ == "__main__":
    answer(TransformerLens)
