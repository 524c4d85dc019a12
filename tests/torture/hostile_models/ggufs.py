"""GGUF files, written here as llama.cpp would, that are incomplete or damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .case import (
    LAYERS,
    VOCABULARY,
    WIDTH,
    Case,
)


def write_gguf(
    to: Path,
    *,
    blocks: int = LAYERS,
    stored_blocks: int = LAYERS,
    leave_out: str = "",
    extra: str = "",
    keys: dict[str, int] | None = None,
    architecture: str = "llama",
) -> Path:
    """A Llama as llama.cpp would write it, with its vocabulary."""
    import numpy as np
    from gguf import GGUFWriter

    draw = np.random.default_rng(0)
    path = to.with_suffix(".gguf")
    writer = GGUFWriter(path, architecture)
    numbers = {
        "block_count": blocks, "embedding_length": WIDTH, "feed_forward_length": 24, "context_length": 32, "attention.head_count": 2,
        "attention.head_count_kv": 2, "vocab_size": VOCABULARY,
    }  # fmt: skip
    for key, value in (numbers | (keys or {})).items():
        writer.add_uint64(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([chr(65 + index) for index in range(VOCABULARY - 1)] + ["AB"])
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    shapes = {"token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,), "output": (VOCABULARY, WIDTH)}
    for block in range(stored_blocks):
        square = {f"blk.{block}.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        norms = {f"blk.{block}.{part}_norm": (WIDTH,) for part in ("attn", "ffn")}
        wide = {f"blk.{block}.ffn_gate": (24, WIDTH), f"blk.{block}.ffn_up": (24, WIDTH), f"blk.{block}.ffn_down": (WIDTH, 24)}
        shapes |= square | norms | wide
    for name, shape in shapes.items():
        if name != leave_out:
            writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
    if extra:
        writer.add_tensor(extra, draw.normal(size=(WIDTH,)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_bytes(change: Callable[[bytes], bytes], base: Path, to: Path) -> Path:
    path = write_gguf(to)
    path.write_bytes(change(path.read_bytes()))
    return path


def cases() -> Iterator[Case]:
    """All of them."""

    def gguf(name: str, refusal: str | None, **options: Any) -> Case:
        return Case(f"GGUF: {name}", lambda base, to: write_gguf(to, **options), refusal)

    def raw(name: str, refusal: str, change: Callable[[bytes], bytes]) -> Case:
        return Case(f"GGUF: {name}", partial(_gguf_bytes, change), refusal)

    yield gguf("sound", None)
    yield gguf("without a tensor", r"missing.*q_proj", leave_out="blk.1.attn_q")
    yield gguf("without a norm", r"missing.*norm", leave_out="output_norm")
    yield gguf("one block over four", r"27 tensors .*no place", blocks=1)
    yield gguf("eight blocks over four", r"missing", blocks=8)
    yield gguf("two blocks of four", r"missing", stored_blocks=2)
    yield gguf("extra tensor", r"no place.*rope_freqs", extra="rope_freqs.weight")
    yield gguf("extra tensor of no name", r"no place.*mystery", extra="mystery.weight")
    yield gguf("a billion blocks", r"more than any model|files hold", blocks=10**9)
    yield gguf("width of 10**12", r"files hold", keys={"embedding_length": 10**12})
    yield gguf("no heads", r"cannot read|configuration", keys={"attention.head_count": 0})
    yield gguf("vocabulary of 2**60", r"files hold|cannot", keys={"vocab_size": 2**60})
    yield gguf("unknown architecture", r"cannot read", architecture="nonesuch")
    yield raw("cut in half", r"cut short", lambda content: content[: len(content) // 2])
    yield raw("cut in the header", r"cut short", lambda content: content[:200])
    yield raw("magic alone", r"cut short", lambda content: content[:4])
    yield raw("not one", r"not a GGUF", lambda content: b"<html>" + content)
    yield raw("version 99", r"version 99", lambda content: content[:4] + struct.pack("<I", 99) + content[8:])
    yield raw("2**60 tensors", r"counts", lambda content: content[:8] + struct.pack("<Q", 2**60) + content[16:])
    yield raw("2**60 keys", r"counts", lambda content: content[:16] + struct.pack("<Q", 2**60) + content[24:])
    yield raw("a key of 2**60 bytes", r"cut short", lambda content: content[:24] + struct.pack("<Q", 2**60) + content[32:])
    yield raw("random bytes", r"damaged|cut short|cannot|counts", lambda content: content[:24] + bytes(range(256)) * 64)
