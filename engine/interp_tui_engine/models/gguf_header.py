"""The header of a GGUF file: its metadata and where its tensors stand. Parsed once, within the file's bounds, in a fraction of a second.

gguf's own reader makes a memory map of every element of every array, some 20 s for a vocabulary of 50,000 tokens on a busy machine. This
one makes what transformers takes from it: `fields`, whose values are Python's own already, and `tensors`.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np

from interp_tui_engine.errors import UserError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MOST_KEYS, _MOST_TENSORS, _MOST_DIMENSIONS = 100_000, 1_000_000, 8
_PLAIN = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}


@dataclass(frozen=True)
class Field:
    """One key of the metadata, in the shape of gguf's `ReaderField`: `parts[i]` for i in `data` are its values, Python's own."""

    name: str
    parts: list[Any]
    types: list[int]

    @property
    def data(self) -> range:
        return range(len(self.parts))


@dataclass(frozen=True)
class Tensor:
    """One tensor, in the shape of gguf's `ReaderTensor`; `data` is read when it is asked for."""

    name: str
    tensor_type: Any
    shape: tuple[int, ...]
    """In the file's order, the fastest dimension first."""
    n_bytes: int
    data_offset: int
    content: Any

    @property
    def data(self) -> Any:
        """The values, or the rows of packed bytes of a quantised tensor, as an array in torch's order of dimensions."""
        kind = _PLAIN.get(self.tensor_type.name, np.uint8)
        flat = np.frombuffer(self.content, kind, self.n_bytes // np.dtype(kind).itemsize, self.data_offset)
        rows = tuple(reversed(self.shape))
        if self.tensor_type.name in _PLAIN:
            return flat.reshape(rows)
        return flat.reshape(*rows[:-1], -1)


@dataclass(frozen=True)
class Header:
    """A whole header, usable where transformers expects a `gguf.GGUFReader`."""

    fields: dict[str, Field]
    tensors: list[Tensor]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor by its name."""
        return {tensor.name: tensor.shape for tensor in self.tensors}


def read_header(path: Path) -> Header:
    """The header of a file. Raises UserError for one that is no GGUF, is cut short or is damaged."""
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise UserError(f"{path} is not a GGUF file: it begins with {magic!r}", "fetch it again")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _Parser(content).header()
    except EOFError as error:
        raise UserError(f"{path} is cut short: {error}", "fetch it again") from None
    except (ValueError, OverflowError, struct.error) as error:
        raise UserError(f"{path} is damaged: {error}", "fetch it again") from None


@final
class _Parser:
    """Steps through a file's bytes; EOFError where they end too early, ValueError where they make no sense."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = len(_MAGIC)

    def header(self) -> Header:
        version = self.number("I")
        if version not in _VERSIONS:
            raise ValueError(f"GGUF version {version} is none of {', '.join(map(str, _VERSIONS))}")
        tensor_count, key_count = self.number("Q"), self.number("Q")
        if tensor_count > _MOST_TENSORS or key_count > _MOST_KEYS:
            raise ValueError(f"its header counts {tensor_count:,} tensors and {key_count:,} keys")
        fields = {}
        for _ in range(key_count):
            field = self.field()
            fields[field.name] = field
        entries = [self.entry() for _ in range(tensor_count)]
        alignment = fields["general.alignment"].parts[0] if "general.alignment" in fields else 32
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise ValueError(f"its alignment is {alignment!r:.40}")
        start = -(-self.at // alignment) * alignment
        tensors = [self.tensor(entry, start) for entry in entries]
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise ValueError("two tensors have the same name")
        return Header(fields, tensors)

    def field(self) -> Field:
        name, kind = self.string(), self.number("I")
        types = [kind]
        while kind == _ARRAY:
            kind, count = self.number("I"), self.number("Q")
            types.append(kind)
            if kind != _ARRAY:
                return Field(name, list(self.values(kind, count)), types)
            raise ValueError(f"{name!r:.80} is an array of arrays")
        return Field(name, list(self.values(kind, 1)), types)

    def values(self, kind: int, count: int) -> Iterator[Any]:
        if kind == _STRING:
            self.need(8 * count)
            for _ in range(count):
                yield self.string()
        elif kind in _FORMATS:
            size = struct.calcsize(_FORMATS[kind])
            self.need(size * count)
            yield from struct.unpack_from(f"<{count}{_FORMATS[kind]}", self.content, self.at)
            self.at += size * count
        else:
            raise ValueError(f"its metadata holds a value of type {kind}")

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        """A tensor's name, dimensions, type and offset."""
        name, dimensions = self.string(), self.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"tensor {name!r:.80} has {dimensions:,} dimensions")
        shape = tuple(self.number("Q") for _ in range(dimensions))
        return name, shape, self.number("I"), self.number("Q")

    def tensor(self, entry: tuple[str, tuple[int, ...], int, int], start: int) -> Tensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, shape, number, offset = entry
        kind = GGMLQuantizationType(number)
        block, width = GGML_QUANT_SIZES[kind]
        if shape and shape[0] % block:
            raise ValueError(f"tensor {name!r:.80} has rows of {shape[0]:,} numbers in blocks of {block}")
        size = prod(shape) * width // block
        if start + offset + size > len(self.content):
            raise EOFError(f"{len(self.content):,} bytes of {start + offset + size:,}")
        return Tensor(name, kind, shape, size, start + offset, self.content)

    def string(self) -> str:
        length = self.number("Q")
        self.need(length)
        text = self.content[self.at : self.at + length].decode("utf-8")
        self.at += length
        return text

    def number(self, form: str) -> int:
        size = struct.calcsize(form)
        self.need(size)
        value: int = struct.unpack_from(f"<{form}", self.content, self.at)[0]
        self.at += size
        return value

    def need(self, size: int) -> None:
        if self.at + size > len(self.content):
            raise EOFError(f"its header needs {self.at + size:,} bytes of {len(self.content):,}")
