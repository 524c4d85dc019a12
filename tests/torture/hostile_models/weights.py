"""Weights that are incomplete, misnamed, damaged, no numbers, or pickles."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .case import (
    Bomb,
    Case,
    copied,
    went_off,
    with_bytes,
    with_header,
    with_tensors,
    with_weights_at,
    without,
)


def _nan(tensors: dict[str, Any], value: float = float("nan")) -> dict[str, Any]:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 2] = value
    return tensors


def cases() -> Iterator[Case]:
    """All of them."""
    first = "model.layers.0.self_attn.q_proj.weight"
    yield Case("sound", copied, None)
    yield Case(
        "one tensor missing", partial(with_tensors, lambda t: {k: v for k, v in t.items() if k != first}), r"1 tensor .* missing.*q_proj"
    )
    half = partial(with_tensors, lambda t: {k: v for k, v in t.items() if ".layers.2." not in k and ".layers.3." not in k})
    yield Case("half its layers missing", half, r"18 tensors .* missing")
    yield Case("norm missing", partial(with_tensors, lambda t: {k: v for k, v in t.items() if k != "model.norm.weight"}), r"missing .*norm")
    no_head = partial(with_tensors, lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    yield Case("head missing, not tied", no_head, r"missing.*lm_head")
    yield Case("every key renamed", partial(with_tensors, lambda t: {f"net.{k}": v for k, v in t.items()}), r"missing.*; .*no place")
    yield Case("extra tensor", partial(with_tensors, lambda t: t | {"model.extra.weight": t[first]}), r"1 tensor .*no place.*model\.extra")
    yield Case("no tensors", partial(with_tensors, lambda t: {}), r"hold 0|missing")
    yield Case(
        "a tensor under two names",
        partial(with_tensors, lambda t: t | {"layers.0.self_attn.q_proj.weight": t[first] * 2}),
        r"two|twice|no place",
    )
    yield Case("wrong shape", partial(with_tensors, lambda t: t | {first: t[first][:4]}), r"cannot be loaded|shape")
    yield Case(
        "transposed",
        partial(with_tensors, lambda t: t | {"model.layers.0.mlp.up_proj.weight": t["model.layers.0.mlp.up_proj.weight"].T}),
        r"cannot|shape",
    )
    yield Case("scalar in place of a matrix", partial(with_tensors, lambda t: t | {first: t[first][0, 0]}), r"cannot|shape")
    yield Case("NaN", partial(with_tensors, _nan), r"1 tensor of its weights holds NaN or infinity .*up_proj")
    yield Case("infinity", partial(with_tensors, partial(_nan, value=float("inf"))), r"NaN or infinity")
    yield Case("minus infinity", partial(with_tensors, partial(_nan, value=float("-inf"))), r"NaN or infinity")
    yield Case(
        "old rotary buffer", partial(with_tensors, lambda t: t | {"model.layers.0.self_attn.rotary_emb.inv_freq": t[first][0, :4]}), None
    )
    yield Case("cut short", partial(with_bytes, lambda content: content[: len(content) // 2]), r"cannot be loaded")
    yield Case("one byte short", partial(with_bytes, lambda content: content[:-1]), r"cannot be loaded")
    yield Case("bytes after the end", partial(with_bytes, lambda content: content + b"\0" * 64), r"cannot be loaded")
    yield Case("empty file", partial(with_bytes, lambda _: b""), r"cannot be loaded")
    yield Case("header of 2**63 bytes", partial(with_bytes, lambda content: struct.pack("<Q", 2**63) + content[8:]), r"cannot be loaded")
    yield Case("header of brackets", partial(with_bytes, lambda _: struct.pack("<Q", 100_000) + b"[" * 100_000), r"cannot be loaded")
    yield Case("overlapping tensors", partial(with_header, _overlap), r"cannot be loaded")
    yield Case("tensor beyond the end", partial(with_header, _beyond), r"cannot be loaded")
    yield Case(
        "unknown dtype", partial(with_header, lambda header: header | {first: header[first] | {"dtype": "F13"}}), r"cannot be loaded"
    )
    yield Case("pickle named safetensors", _pickle_in_disguise, r"cannot be loaded")
    yield Case("pickle only", _pickle_only, r"only as pickles")
    yield Case("adapter beside", _adapter, r"adapter")
    yield Case(
        "other name", lambda base, to: with_weights_at(base, to, "weights.safetensors"), r"no weights that can be loaded but weights"
    )
    yield Case("weights are a pipe", _pipe, r"no weights|cannot be loaded")
    yield Case("weights are a folder", _weights_folder, r"no weights")
    yield Case("no weights", lambda base, to: without(base, to, "model.safetensors"), r"no weights")
    yield Case("no config", lambda base, to: without(base, to, "config.json"), r"no config")


def _overlap(header: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in header if name != "__metadata__"]
    return header | {names[0]: header[names[0]] | {"data_offsets": header[names[1]]["data_offsets"]}}


def _beyond(header: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name in header if name != "__metadata__")
    return header | {name: header[name] | {"data_offsets": [0, 2**40]}}


def _pickle_in_disguise(base: Path, to: Path) -> Path:
    copied(base, to)
    (to / "model.safetensors").write_bytes(pickle.dumps(Bomb(went_off(to))))
    return to


def _pickle_only(base: Path, to: Path) -> Path:
    without(base, to, "model.safetensors")
    (to / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(went_off(to))))
    return to


def _adapter(base: Path, to: Path) -> Path:
    copied(base, to)
    (to / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(base)}))
    return to


def _pipe(base: Path, to: Path) -> Path:
    without(base, to, "model.safetensors")
    os.mkfifo(to / "model.safetensors")
    return to


def _weights_folder(base: Path, to: Path) -> Path:
    without(base, to, "model.safetensors")
    (to / "model.safetensors").mkdir()
    return to
