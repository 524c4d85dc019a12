"""Scored prompts: the examples that give a criterion its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import jsonl
from .jsonl import RowError


@dataclass(frozen=True)
class Prompt:
    """A text and how far it meets the criterion: 1 fully, 0 not at all (any finite number will do). `id` is the file's, or its line."""

    text: str
    score: float
    id: str
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields beyond the format's own, such as `answer`; kept when written."""


def read(path: Path) -> list[Prompt]:
    """The prompts of a JSON Lines file: `text` and `criterion_score`, and `prompt_id` or `id`.

    Raises RowError for a line that cannot be used (an empty text, a score that is missing or not finite, an id given twice).
    """
    prompts: list[Prompt] = []
    lines: dict[str, int] = {}
    for line, row in jsonl.rows(path):
        text = jsonl.text(path, line, row, "text")
        if not text.strip():
            raise RowError(path, line, "text", "is empty")
        score = jsonl.real(path, line, row, "criterion_score")
        name = jsonl.text(path, line, {"id": row.get("prompt_id", row.get("id"))}, "id", default=f"line-{line}")
        if name in lines:
            raise RowError(
                path, line, "prompt_id", f"{name!r:.60} stands on line {lines[name]} too", "ids must differ; leave them out if unsure"
            )
        lines[name] = line
        extra = {key: value for key, value in row.items() if key not in ("text", "criterion_score", "prompt_id", "id")}
        prompts.append(Prompt(text, score, name, extra))
    if not prompts:
        raise UserError(f"{path} holds no prompts", 'each line is one, such as {"text": "…", "criterion_score": 1.0}')
    return prompts


def without_repeats(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[str]]:
    """Each prompt once, whatever its id, and what to say of those left out, if any: a copy is no evidence of its own, and one among
    the prompts that something is told on has been seen already if another was among those it was chosen on."""
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        first.setdefault(json.dumps([prompt.text, prompt.score, prompt.extra], sort_keys=True), prompt)
    left_out = len(prompts) - len(first)
    if not left_out:
        return list(prompts), []
    copies = "1 prompt repeats another and is" if left_out == 1 else f"{left_out} prompts repeat others and are"
    return list(first.values()), [f"{copies} left out: {len(first)} of {len(prompts)} stay"]


def write(path: Path, prompts: Iterable[Prompt]) -> int:
    """Write prompts as `read` reads them."""
    return jsonl.write(path, ({"prompt_id": p.id, "text": p.text, "criterion_score": p.score, **p.extra} for p in prompts))
