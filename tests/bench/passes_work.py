"""What all sides of the patching and caching benches do, and how they answer. transformers and torch alone: it runs in every environment.

Grid: the clean run's residual stream after every layer at every position, put into the corrupt run, one place at a time; the metric is the
logit difference at the last token. Cache: every resid_pre, resid_mid and resid_post of a batch of ids. Both are timed whole, the clean run
included, the model loaded before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .side import ROOT, SCRATCH, device, now, serve

MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = SCRATCH / "smollm2"
"""The same weights as safetensors, written once: three processes that unpack a GGUF each would take most of the bench's time."""
CLEAN, CORRUPT, ANSWER, OTHER = "The capital of France is", "The capital of Japan is", " Paris", " Tokyo"
PROMPTS, TOKENS = 64, 64


class Work(ABC):
    """One side: `patch` and `cache` in as many ways as the library offers."""

    def __init__(self) -> None:
        self.module, self.tokenizer = loaded()
        self.clean, self.corrupt = (self.tokenizer(text, return_tensors="pt").input_ids.to(device()) for text in (CLEAN, CORRUPT))
        self.answer, self.other = (self.tokenizer(text, add_special_tokens=False).input_ids[0] for text in (ANSWER, OTHER))
        self.layers = self.module.config.num_hidden_layers
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(100, 40_000, (PROMPTS, TOKENS), generator=generator).to(device())

    @abstractmethod
    def patch(self, way: str) -> Tensor:
        """Logit differences (layers, positions) of the corrupt run with each clean residual stream in place."""

    @abstractmethod
    def cache(self) -> Mapping[str, Tensor]:
        """(prompts, tokens, width) of every residual site, under names of the library's own."""

    @abstractmethod
    def logits(self) -> Tensor:
        """(vocab,) after the clean prompt."""

    def gap(self, logits: Tensor) -> Tensor:
        """The metric of logits (..., vocab)."""
        return logits[..., self.answer] - logits[..., self.other]


def loaded() -> tuple[Any, Any]:
    """The model as transformers reads it, in float32, in eval mode, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    return module.eval().requires_grad_(False).to(device()), AutoTokenizer.from_pretrained(FOLDER)


def answer(make: type[Work]) -> None:
    """Serve a side's requests."""
    held: list[Work] = []

    def set_up(threads: int) -> dict[str, Any]:
        torch.set_num_threads(threads)
        held[:] = [make()]
        return {"layers": held[0].layers, "positions": held[0].clean.shape[1]}

    @torch.no_grad()
    def patch(way: str) -> dict[str, Any]:
        start = now()
        grid = held[0].patch(way)
        return {"seconds": now() - start, "grid": grid.tolist()}

    @torch.no_grad()
    def cache() -> dict[str, Any]:
        start = now()
        found = held[0].cache()
        seconds = now() - start
        return {"seconds": seconds, "sites": len(found), "norm": float(sum(value.double().pow(2).sum() for value in found.values()) ** 0.5)}

    @torch.no_grad()
    def logits() -> dict[str, Any]:
        return {"logits": held[0].logits().tolist()}

    serve({"where": lambda: {"device": device()}, "set_up": set_up, "patch": patch, "cache": cache, "logits": logits})
