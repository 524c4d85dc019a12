"""Plain record rows read column by column: what the careful reader makes of them row by row, several times as quickly.

Rows are plain when all are of one model, name their features in an object, and hold texts and numbers where texts and numbers belong.
`plain` says None of any others: they are for the careful reader, which knows every form that a row may have and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

_NUMBERS: frozenset[type] = frozenset({float, int})
_TEXT: frozenset[type] = frozenset({str})
_TEXT_OR_NONE: frozenset[type] = frozenset({str, type(None)})
_TABLE: frozenset[type] = frozenset({dict})
_TABLE_OR_NONE: frozenset[type] = frozenset({dict, type(None)})


class Plain(NamedTuple):
    """The rows' fields, one list each. Row i names features `names[i]`; where `uniform`, all rows name those of the first, in its order."""

    model: str
    scores: Float64[np.ndarray, " rows"] | None
    """None where they were not asked for."""
    features: list[dict[str, float]]
    values: Float64[np.ndarray, " entries"]
    uniform: bool
    prompt_ids: list[str]
    texts: list[str]
    metadata: list[dict[str, Any] | None]
    described: list[Mapping[str, Any]]
    """Each distinct feature_metadata that follows another, in order."""


def plain(rows: Sequence[Any], largest: float, *, scored: bool) -> Plain | None:
    """The columns of parsed rows; None where one of them is not plain. `scored`: every row needs a criterion_score.

    Numbers beyond ±`largest`, NaN among them, are not plain.
    """
    try:
        models = {row["model"] for row in rows}
        features: list[Any] = [row["features"] for row in rows]
        texts = [row["text"] for row in rows]
    except (KeyError, TypeError):
        return None
    prompts = [row["prompt_id"] if "prompt_id" in row else row.get("id") for row in rows]
    metadata = [row.get("metadata") for row in rows]
    about = [entry for row in rows if (entry := row.get("feature_metadata")) is not None]
    if len(models) != 1 or not _are(models, _TEXT) or not _are(texts, _TEXT) or not _are(prompts, _TEXT_OR_NONE):
        return None
    if not _are(features, _TABLE) or not _are(metadata, _TABLE_OR_NONE):
        return None
    scores = None
    if scored and (scores := _numbers([row.get("criterion_score") for row in rows], largest)) is None:
        return None
    values = _numbers(list(chain.from_iterable(map(dict.values, features))), largest)
    if values is None:
        return None
    first = list(features[0])
    return Plain(
        model=models.pop(),
        scores=scores,
        features=features,
        values=values,
        uniform=all(list(entry) == first for entry in features),
        prompt_ids=[prompt or "" for prompt in prompts],
        texts=texts,
        metadata=metadata,
        described=[entry for before, entry in zip([None, *about], about, strict=False) if entry != before],
    )


def _are(values: Any, kinds: frozenset[type]) -> bool:
    return kinds.issuperset(map(type, values))


def _numbers(values: list[Any], largest: float) -> Float64[np.ndarray, " values"] | None:
    if not _are(values, _NUMBERS):
        return None
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError:  # a whole number beyond all floats
        return None
    return array if (np.abs(array) <= largest).all() else None  # NaN is not less than anything
