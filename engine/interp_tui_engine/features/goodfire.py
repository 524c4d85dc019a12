"""Features that Goodfire's search finds for a criterion: labels of the latents of the models it serves; by its HTTP interface."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from ..errors import UserError
from ..numbers import as_finite
from .evidence import Evidence
from .fetch import Service

BASE, KEY = "GOODFIRE_BASE_URL", "GOODFIRE_API_KEY"
PUBLIC = "https://api.goodfire.ai"
PAGE = 50


def service(**options: Any) -> Service:
    """Goodfire, or what $GOODFIRE_BASE_URL names, with the key in $GOODFIRE_API_KEY. Raises UserError where there is none."""
    key = os.environ.get(KEY)
    if not key:
        raise UserError(f"backend 'goodfire' needs a key, and {KEY} is not set", f"export {KEY}=…; it is sent to {BASE} or {PUBLIC} only")
    return Service("Goodfire", os.environ.get(BASE) or PUBLIC, {"Authorization": f"Bearer {key}"}, KEY, **options)


def search(query: str, model: str, most: int, source: Service, before: Callable[[], None] = lambda: None) -> list[Evidence]:
    """At most `most` features, the most relevant first; `before` is called before each page, and may stop it.

    Raises RunFailed as `Service.ask` does, UserError where nothing is found.
    """
    collected: list[Evidence] = []
    page = 1
    while len(collected) < most:
        before()
        size = min(PAGE, most)
        asked = urlencode({"query": query, "page": page, "perPage": size, "model": model})
        part = source.ask(f"/api/inference/v1/features/search?{asked}", read=lambda answer: read(answer, model))
        collected += [item for item in part if all(item.feature_id != other.feature_id for other in collected)]
        if len(part) < size:
            break
        page += 1
    if not collected:
        raise UserError(f"Goodfire has no features for {query!r:.60} on {model!r:.60}", "is the model one that it serves?")
    return collected[:most]


def read(answer: Any, model: str) -> list[Evidence]:
    """A page of the search as evidence. Raises ValueError for an answer of another shape."""
    rows = answer.get("features") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and type(row.get("index_in_sae")) is int for row in rows):
        raise ValueError(f"no page of features: {str(answer)[:100]}")
    return [
        Evidence(
            feature_id=f"goodfire:{row['index_in_sae']}",
            model=model,
            label=str(row.get("label") or ""),
            source="goodfire",
            metadata={
                "uuid": str(row.get("id") or ""),
                "relevance": as_finite(row.get("relevance")),
                "max_activation": as_finite(row.get("max_activation_strength")),
            },
        )
        for row in rows
    ]
