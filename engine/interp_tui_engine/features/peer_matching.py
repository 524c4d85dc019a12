"""Matches as interp-lab 3.1 makes them, for `assignment = "peer"`: the best pairs of all, in which a feature may stand many times.

Where `matching` and this differ: the causal axis is (cos + 1)/2 · min(1, |u|)·min(1, |v|); an axis of a zero vector counts as cosine 0;
effects are taken as they are; nothing says what chance would score; numbers are rounded to six decimals. Of pairs that tie for the last
place those seen later stay.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .matching import FIELDS, LEAST_EFFECT, OPPOSED, Match, effects_of

Fingerprint = Mapping[str, Any]


def best_pairs(
    left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]], *, weights: Mapping[str, float], least: float, top: int
) -> list[Match]:
    """The `top` pairs of the largest score, best first; their quantile of chance is NaN."""
    effects = effects_of(left), effects_of(right)
    kept: list[tuple[float, int, Match]] = []
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            score, components = _score(a, b, effects[0][i], effects[1][j], weights)
            if score < least:
                continue
            entry = (score, i * len(right) + j, Match(i, j, score, components, math.nan))
            if len(kept) < top:
                heapq.heappush(kept, entry)
            elif score > kept[0][0]:
                heapq.heapreplace(kept, entry)
    return [match for _, _, match in sorted(kept, key=lambda entry: (-entry[0], entry[1]))]


def _score(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    left_effect: tuple[str, float] | None,
    right_effect: tuple[str, float] | None,
    weights: Mapping[str, float],
) -> tuple[float, dict[str, float]]:
    prints = a.get("fingerprint", {}), b.get("fingerprint", {})
    parts = {name: part for name in weights if (part := _axis(name, *prints)) is not None}
    total = sum(weights[name] for name in parts)
    score = round(_clamp(sum(weights[name] * part for name, part in parts.items()) / (total or 1.0)), 6)
    if left_effect is not None and right_effect is not None and left_effect[0] == right_effect[0]:
        x, y = left_effect[1], right_effect[1]
        parts["signed_effect"] = _clamp(1 - abs(x - y) / 2)
        score = _clamp(0.85 * score + 0.15 * parts["signed_effect"])
        opposed = x * y < 0 and min(abs(x), abs(y)) >= LEAST_EFFECT
        score = round(min(score, OPPOSED) if opposed else score, 6)
    return score, {name: round(part, 6) for name, part in parts.items()}


def _axis(name: str, a: Fingerprint, b: Fingerprint) -> float | None:
    """An axis's part, None where one lacks it or the two cannot be compared."""
    u, v = ([float(x) for x in side.get(FIELDS[name]) or []] for side in (a, b))
    if not u or len(u) != len(v):
        return None
    if name == "text" and a.get("text_embedder", "hash-v1") != b.get("text_embedder", "hash-v1"):
        return None
    provenance = a.get("causal_provenance", "none")
    if name == "causal" and (provenance == "none" or provenance != b.get("causal_provenance", "none")):
        return None
    sizes = math.sqrt(sum(x * x for x in u)), math.sqrt(sum(x * x for x in v))
    cosine = sum(x * y for x, y in zip(u, v, strict=True)) / (sizes[0] * sizes[1]) if all(sizes) else 0.0
    part = _clamp((cosine + 1) / 2)
    return _clamp(part * min(1.0, sizes[0]) * min(1.0, sizes[1])) if name == "causal" else part


def _clamp(value: float) -> float:
    return max(0.0, min(1.0, value))
