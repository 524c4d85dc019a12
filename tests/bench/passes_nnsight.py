"""nnsight's side of the patching and caching benches: its own model class and traces. Runs inside its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from nnsight.modeling.transformers import TransformersModel
from torch import Tensor

from .passes_work import Work, answer


class Nnsight(Work):
    """'one': a trace a patch. 'invokes': the positions of a layer as invokes of one trace, which nnsight runs as one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.native: Any = TransformersModel(self.module, tokenizer=self.tokenizer, task="text-generation")

    def patch(self, way: str) -> Tensor:
        native, layers, positions = self.native, self.layers, self.clean.shape[1]
        clean = self._clean_streams()
        grid = torch.zeros(layers, positions)
        for layer in range(layers):
            if way == "invokes":
                with native.trace() as tracer:
                    found = [].save()
                    for position in range(positions):
                        with tracer.invoke(self.corrupt):
                            native.model.layers[layer].output[:, position] = clean[layer][:, position]
                            found.append(native.lm_head.output[0, -1])
                grid[layer] = torch.stack([self.gap(logits) for logits in found])
                continue
            for position in range(positions):
                with native.trace(self.corrupt):
                    native.model.layers[layer].output[:, position] = clean[layer][:, position]
                    logits = native.lm_head.output[0, -1].save()
                grid[layer, position] = self.gap(logits)
        return grid

    def _clean_streams(self) -> list[Tensor]:
        native = self.native
        with native.trace(self.clean):
            kept = [].save()
            for layer in range(self.layers):
                kept.append(native.model.layers[layer].output)
        return [value.clone() for value in kept]

    def cache(self) -> Mapping[str, Tensor]:
        native, found = self.native, {}
        with native.trace(self.ids) as tracer:
            kept = {}.save()
            for layer in range(self.layers):
                block = native.model.layers[layer]
                kept[f"{layer}.pre"] = block.input
                kept[f"{layer}.mid"] = block.post_attention_layernorm.input
                kept[f"{layer}.post"] = block.output
            tracer.stop()  # the logits of 4,096 tokens are not wanted
        found.update(kept)
        return found

    def logits(self) -> Tensor:
        with self.native.trace(self.clean):
            logits = self.native.output.logits[0, -1].save()
        return logits


if __name__ == "__main__":
    answer(Nnsight)
