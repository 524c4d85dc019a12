"""Activation records (JSON Lines) as a matrix to train on: a row a record, a column a feature."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class RecordMatrix:
    """`values[i, j]` is feature `features[j]` of record i; a feature that a record does not name is 0 there."""

    model: str
    features: tuple[str, ...]
    values: Float[Tensor, "n d"]
    seen: int
    """Records in the file; more than rows where a sample was drawn."""


def read_matrix(path: Path, *, model: str | None, max_records: int | None, seed: int) -> RecordMatrix:
    """Read the records of `path` (.jsonl, .jsonl.gz), those of `model` alone where it is given.

    With `max_records` a uniform sample of that size is kept (reservoir sampling: Vitter 1985, algorithm R), which depends on the seed and
    the file alone; memory is bounded by it. Columns are in the order in which their features first appear in the file.

    Raises UserError naming file, line and field for a line that is no record, a value that is not finite, records of several models.
    """
    columns: dict[str, int] = {}
    kept: list[dict[int, float]] = []
    rng = random.Random(seed)
    seen, first = 0, ""
    for number, record in _lines(path):
        where = f"{path}, line {number}"
        name = record.get("model")
        if not isinstance(name, str) or not name:
            raise UserError(f"{where}: field 'model' is {_said(name)}", "every record names the model it is from")
        _finite(where, "criterion_score", record.get("criterion_score"))
        if model is not None and name != model:
            continue
        first = first or name
        if name != first:
            raise UserError(f"{where}: field 'model' is {name!r}, but earlier records are from {first!r}", "train on one model at a time")
        row = {columns.setdefault(feature, len(columns)): value for feature, value in _features(where, record.get("features"))}
        seen += 1
        if max_records is None or len(kept) < max_records:
            kept.append(row)
        elif (place := rng.randrange(seen)) < max_records:
            kept[place] = row
    if not kept:
        of = f" of model {model!r}" if model is not None else ""
        raise UserError(f"{path} holds no activation records{of}")
    values = torch.zeros(len(kept), len(columns))
    for index, row in enumerate(kept):
        values[index, list(row)] = torch.tensor(list(row.values()), dtype=torch.float32)
    return RecordMatrix(first, tuple(columns), values, seen)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{where}: not JSON ({error.msg} at column {error.colno})", "each line is one JSON object") from None
                except RecursionError:
                    raise UserError(f"{where}: nested too deep") from None
                if not isinstance(record, dict):
                    raise UserError(f"{where}: a {type(record).__name__}, not an object", "each line is one activation record")
                yield number, record
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})") from None


def _features(where: str, given: Any) -> Iterator[tuple[str, float]]:
    """The pairs of a record's features: a table {id: value}, or a list of tables with feature_id and activation (or value)."""
    if isinstance(given, Mapping):
        for feature, value in given.items():
            yield feature, _finite(where, f"features.{feature}", value)
        return
    if not isinstance(given, list):
        raise UserError(f"{where}: field 'features' is {_said(given)}", "it is a table {id: value} or a list of tables")
    named: set[str] = set()
    for index, entry in enumerate(given):
        field = f"features.{index}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where}: field '{field}' is {_said(entry)}", "it is a table with feature_id and activation")
        feature = entry.get("feature_id")
        if not isinstance(feature, str) or not feature:
            raise UserError(f"{where}: field '{field}.feature_id' is {_said(feature)}", "a feature needs an id")
        if feature in named:
            raise UserError(f"{where}: field '{field}.feature_id' repeats {feature!r}", "a record names each feature once")
        named.add(feature)
        key = "activation" if "activation" in entry else "value"
        yield feature, _finite(where, f"{field}.{key}", entry.get(key))


def _finite(where: str, field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{where}: field '{field}' is {_said(value)}", "it must be a number")
    if not math.isfinite(value) or abs(value) > 3e38:
        raise UserError(f"{where}: field '{field}' is {value}", "it must be a finite number")
    return float(value)


def _said(value: Any) -> str:
    return "missing" if value is None else f"{value!r:.40}"
