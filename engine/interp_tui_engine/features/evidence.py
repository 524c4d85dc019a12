"""Features as others have described them: one JSON object a line with an id, a label, examples and signatures, but no activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..validation_errors import nearest
from . import ids, jsonl
from .jsonl import RowError


@dataclass(frozen=True)
class Evidence:
    """What is known of one feature. The layer falls back to what the id says; signatures are empty where nobody measured them."""

    feature_id: str
    model: str
    layer: int | None = None
    label: str = ""
    examples: tuple[str, ...] = ()
    activation_signature: tuple[float, ...] = ()
    decoder_signature: tuple[float, ...] = ()
    causal_effects: dict[str, float] = field(default_factory=dict)
    source: str = "unknown"
    metadata: dict[str, Any] = field(default_factory=dict)


def read(path: Path, model: str | None = None) -> list[Evidence]:
    """The features of a file, of the model asked for or else of the only one there is.

    Raises RowError for a line that cannot be used and for a feature that is there twice; UserError where there are several models, or none
    of the name asked for.
    """
    items: list[Evidence] = []
    lines: dict[tuple[str, str], int] = {}
    for line, row in jsonl.rows(path):
        item = _one(path, line, row)
        key = (item.model, item.feature_id)
        if key in lines:
            raise RowError(path, line, "feature_id", f"{item.feature_id!r:.60} stands on line {lines[key]} too")
        lines[key] = line
        items.append(item)
    models = list(dict.fromkeys(item.model for item in items))
    if not items:
        raise UserError(f"{path} holds no features")
    if model is None and len(models) > 1:
        raise UserError(
            f"{path} holds features of {len(models)} models: {', '.join(models[:6])}", "set params.model to the one that is meant"
        )
    if model is not None and model not in models:
        guess = nearest(model, models) or models[0]
        raise UserError(f"{path}: no feature is of model {model!r}", f"did you mean {guess!r}? there are: {', '.join(models[:6])}")
    return [item for item in items if model is None or item.model == model]


def write(path: Path, features: Iterable[Evidence]) -> int:
    """Write features as `read` reads them."""
    return jsonl.write(path, (asdict(item) for item in features))


def _one(path: Path, line: int, row: dict[str, Any]) -> Evidence:
    name = jsonl.text(path, line, row, "feature_id")
    examples = row.get("examples") or []
    if type(examples) is not list:
        raise RowError(path, line, "examples", "is no list of texts")
    layer = jsonl.whole(path, line, row, "layer")
    effects = jsonl.table(path, line, row, "causal_effects")
    return Evidence(
        feature_id=name,
        model=jsonl.text(path, line, row, "model"),
        layer=layer if layer is not None else ids.layer_of(name),
        label=jsonl.text(path, line, row, "label", default=""),
        examples=tuple(map(str, examples)),
        activation_signature=tuple(jsonl.numbers(path, line, row, "activation_signature")),
        decoder_signature=tuple(jsonl.numbers(path, line, row, "decoder_signature")),
        causal_effects={key: jsonl.finite_number(path, line, f"causal_effects.{key}", value) for key, value in effects.items()},
        source=jsonl.text(path, line, row, "source", default="unknown"),
        metadata=jsonl.table(path, line, row, "metadata"),
    )
