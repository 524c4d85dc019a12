"""A model as another process builds it without reading its files: all of it but the weights, as bytes.

What a family's code makes beside the parameters (buffers that no file holds, the configuration, which parameters are tied) is taken from
the model that was loaded, so that the copy cannot differ from it.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, final

import torch
from torch import nn


def packed(module: nn.Module) -> bytes | None:
    """The module without the values of its parameters; None for one that cannot be told to another process."""
    buffer = io.BytesIO()
    try:
        _Packer(buffer).dump(module)
    except Exception:  # what a class of its own keeps may be anything: a lock, a function made in place
        return None
    return buffer.getvalue()


def unpacked(packed_module: bytes) -> nn.Module:
    """The module that `packed` told of, on the CPU; its parameters have their shapes, and whatever the memory held."""
    module = _Unpacker(io.BytesIO(packed_module)).load()
    assert isinstance(module, nn.Module)
    return module


@final
class _Packer(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        if not isinstance(thing, nn.Parameter):
            return None
        return id(thing), tuple(thing.shape), thing.dtype  # a tied one is met again under its number


@final
class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._parameters: dict[int, nn.Parameter] = {}

    def persistent_load(self, told: Any) -> nn.Parameter:
        number, shape, dtype = told
        if number not in self._parameters:  # pages that nobody writes take no memory
            self._parameters[number] = nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)
        return self._parameters[number]
