"""A device that holds so many rows and no more: whatever asks the model for more is told so, in the words of one back end after another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from interp_tui_engine.sites.site_map import SiteMap

WORDS: tuple[Callable[[], Exception], ...] = (
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("CUDA error: out of memory"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB, other allocations: 1.2 GB, max allowed: 18.13 GB)"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError,
)
"""How Python, PyTorch's back ends and the libraries below them say it."""


@contextmanager
def room_for(rows: int) -> Iterator[list[int]]:
    """Inside, blocks and the unembedding of Llamas refuse more rows than these; gives the sizes that were refused."""
    refused: list[int] = []
    words = itertools.cycle(WORDS)
    forward, unembed = LlamaDecoderLayer.forward, SiteMap.unembed

    def check(value: torch.Tensor) -> None:
        if len(value) > rows:
            refused.append(len(value))
            raise next(words)()

    def block(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        check(hidden_states)
        return forward(self, hidden_states, *args, **kwargs)

    def head(self: Any, resid: torch.Tensor) -> torch.Tensor:
        check(resid)
        return unembed(self, resid)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LlamaDecoderLayer, "forward", block)
        patched.setattr(SiteMap, "unembed", head)
        yield refused
