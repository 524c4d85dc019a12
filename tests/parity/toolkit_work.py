"""What interpretability-toolkit's README promises, computed by hand on the embedded model: hooks of torch's own, and arithmetic."""

from __future__ import annotations

import json
from typing import Any

import torch

from .interp_work import CLEAN, CORRUPT, Numbers, embedded

LAYER, HEAD = 2, 3


def classes() -> tuple[torch.Tensor, torch.Tensor]:
    """Forty points of two classes that the plane x₀ = 0 parts."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0] > 0).long()
    x[:, 0] += torch.where(labels == 1, 1.0, -1.0)
    return x, labels


def numbers() -> dict[str, Numbers | None]:
    model, tokenizer = embedded()
    model.config._attn_implementation = "eager"
    ids = {text: torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]) for text in (CLEAN, CORRUPT)}
    with torch.no_grad():
        out = model(ids[CLEAN], output_hidden_states=True, output_attentions=True)
    kept: dict[str, torch.Tensor] = {}
    mlp = model.model.layers[LAYER].mlp
    with torch.no_grad():
        handle = mlp.register_forward_hook(lambda module, inputs, output: kept.__setitem__("clean", output))
        model(ids[CLEAN])
        handle.remove()
        before = model(ids[CORRUPT]).logits[0, -1]
        handle = mlp.register_forward_hook(lambda module, inputs, output: kept["clean"])
        after = model(ids[CORRUPT]).logits[0, -1]
        handle.remove()
    paris, tokyo = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (" Paris", " Tokyo"))
    pattern = out.attentions[LAYER][0, HEAD]
    return {
        "residual": _some(out.hidden_states[LAYER + 1][0]),
        "pattern": _some(pattern),
        "probe": [1.0],
        "patch": [float(after[paris] - after[tokyo] - (before[paris] - before[tokyo]))],
        "circuit": [1.0, 1.0],
        "plots": [1.0, 1.0, 1.0],
    }


def _some(values: Any) -> Numbers:
    return [*map(float, values.shape), *values.flatten()[::17].tolist(), float(values.sum())]


if __name__ == "__main__":
    print(json.dumps(numbers()))
