"""One hostile model, and the ways of making one of a sound folder."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYERS, WIDTH, VOCABULARY = 4, 16, 64


@dataclass(frozen=True)
class Case:
    """One hostile model. `make(base, to)` builds it from the sound folder `base` at the path `to` and returns what to load;
    `refusal` is a pattern of the error's text, None where the model must load whole."""

    name: str
    make: Callable[[Path, Path], Path]
    refusal: str | None


class Bomb:
    """Pickled, it makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def went_off(to: Path) -> Path:
    """The file that a case's bomb makes: its presence means that code was run."""
    return to.parent / f"{to.name}.went-off"


def sound_folder(to: Path) -> Path:
    """A Llama of a few thousand parameters, as `save_pretrained` leaves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(to)
    return to


def copied(base: Path, to: Path) -> Path:
    shutil.copytree(base, to)
    return to


def with_tensors(change: Callable[[dict[str, Any]], dict[str, Any]], base: Path, to: Path) -> Path:
    """The folder with other tensors."""
    from safetensors.torch import load_file, save_file

    copied(base, to)
    path = to / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    return to


def with_config(values: dict[str, Any], base: Path, to: Path) -> Path:
    """The folder with other values in its config.json; None takes one out."""
    copied(base, to)
    config = json.loads((to / "config.json").read_text()) | values
    (to / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return to


def with_raw_config(text: bytes, base: Path, to: Path) -> Path:
    copied(base, to)
    (to / "config.json").write_bytes(text)
    return to


def without(base: Path, to: Path, *names: str) -> Path:
    copied(base, to)
    for name in names:
        (to / name).unlink()
    return to


def with_bytes(change: Callable[[bytes], bytes], base: Path, to: Path) -> Path:
    """The folder with other bytes in its weights."""
    copied(base, to)
    path = to / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    return to


def with_header(change: Callable[[dict[str, Any]], Any], base: Path, to: Path) -> Path:
    """The folder with another header in its weights."""

    def changed(content: bytes) -> bytes:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        text = json.dumps(change(header) or header).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return with_bytes(changed, base, to)


def with_weights_at(base: Path, to: Path, name: str) -> Path:
    copied(base, to)
    (to / "model.safetensors").rename(to / name)
    return to
