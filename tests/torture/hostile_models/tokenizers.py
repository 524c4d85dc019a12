"""Tokenizers that are damaged, of another model, or name code to run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .case import VOCABULARY, Case, copied

WORDS = {f"w{index}": index for index in range(VOCABULARY)}
SOUND: dict[str, Any] = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "w0"}}


def _beside(files: dict[str, Any], base: Path, to: Path) -> Path:
    """The sound folder and these files: text and bytes as they are, else JSON."""
    copied(base, to)
    for name, content in ({"tokenizer.json": SOUND} | files).items():
        (to / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return to


def _with(word: str, number: int) -> dict[str, Any]:
    return SOUND | {"model": SOUND["model"] | {"vocab": WORDS | {word: number}}}


def _added(number: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {**SOUND, "added_tokens": [{"id": number, "content": "<x>", "special": True, **flags}]}


def _pipe(base: Path, to: Path) -> Path:
    copied(base, to)
    os.mkfifo(to / "tokenizer.json")
    return to


def cases() -> Iterator[Case]:
    """All of them."""

    def tokenizer(name: str, refusal: str | None, content: Any) -> Case:
        return Case(f"tokenizer: {name}", partial(_beside, {"tokenizer.json": content}), refusal)

    def config(name: str, refusal: str | None, **values: Any) -> Case:
        return Case(f"tokenizer: {name}", partial(_beside, {"tokenizer_config.json": values}), refusal)

    cannot = r"the tokenizer cannot be loaded"
    yield tokenizer("sound", None, SOUND)
    yield tokenizer("one token more than the model", r"gives token 64, but the model knows 64", _with(f"w{VOCABULARY}", VOCABULARY))
    yield tokenizer("a token of number 10**9", r"but the model knows 64", _with("x", 10**9))
    yield tokenizer("a number below zero", cannot, _with("x", -1))
    yield tokenizer("a token added beyond the model", None, _added(VOCABULARY))
    yield tokenizer("not JSON", cannot, b"{")
    yield tokenizer("empty", cannot, b"")
    yield tokenizer("not text", cannot, b"\xff\xfe\x00")
    yield tokenizer("a list", cannot, [])
    yield tokenizer("null", cannot, None)
    yield tokenizer("brackets", cannot, b"[" * 100_000)
    yield tokenizer("deep tables", cannot, b'{"a":' * 3000 + b"1" + b"}" * 3000)
    yield config("a beginning beyond the model", r"gives token 64", bos_token="<nowhere>", add_bos_token=True)
    yield config("a beginning that is a number", cannot, bos_token=5)
    yield config("own code", cannot, auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}, tokenizer_class="evil.Tokenizer")
    yield config("longest text as text", r"model_max_length .*no number", model_max_length="long")
    yield config("a template without end", None, chat_template="{% for i in range(999999999) %}x{% endfor %}")
    yield Case("tokenizer: configuration of brackets", partial(_beside, {"tokenizer_config.json": b"[" * 100_000}), cannot)
    yield Case("tokenizer: a pipe", _pipe, None)
    yield Case("generation settings of brackets", partial(_beside, {"generation_config.json": b"[" * 100_000}), r"cannot be loaded")
    yield Case("generation settings a list", partial(_beside, {"generation_config.json": []}), r"cannot be loaded")
