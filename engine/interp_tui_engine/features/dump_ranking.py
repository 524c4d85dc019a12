"""Ranks features of which there are descriptions but no activations: by how like the criterion they read, and by their effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .effects import Effect
from .evidence import Evidence
from .fingerprint import text_vector
from .ranking import COLUMNS, Ranking


def rank_dump(features: Sequence[Evidence], criterion: str, effects: Mapping[str, Effect], *, seed_ranking: bool) -> Ranking:
    """As `ranking.rank`, where nothing can be tested: `correlation` is missing and tier 1 does not occur.

    Without activations importance is (tier + x)/3 with x the words' cosine with the criterion (0 at least), tier 2 for a clear effect. The
    seed's score takes association, specificity and effects from the dump's own `causal_effects`.
    """
    wanted = text_vector(criterion)
    table: dict[str, list[object]] = {key: [None] * len(features) for key in COLUMNS}
    importance = np.zeros(len(features))
    for index, item in enumerate(features):
        likeness = max(0.0, float(text_vector(" ".join([item.label, *item.examples])) @ wanted))
        effect = effects.get(item.feature_id)
        tier = 2 if effect is not None and effect.clear else 0
        strong = effect.strong / (1 + effect.strong) if effect is not None else 0.0
        importance[index] = _seed(item, likeness, effect) if seed_ranking else (tier + (strong if tier else likeness)) / 3
        row: dict[str, object] = {
            "feature_id": item.feature_id,
            "layer": item.layer,
            "label": item.label,
            "tier": tier,
            "direction": 1,
            "clear": tier == 2,
        }
        if effect is not None:
            row |= {"effect": effect.directed.mean, "effect_low": effect.directed.low, "effect_high": effect.directed.high}
            row |= {"strong": effect.strong, "side_effect": effect.side, "effect_rows": effect.directed.count}
            row |= {"control": effect.control.mean if effect.control else None}
        for key, value in row.items():
            table[key][index] = value
    table["importance"] = list(importance.tolist())
    order = sorted(range(len(features)), key=lambda i: (-importance[i], i))
    ranked = {key: [table[key][i] for i in order] for key in COLUMNS}
    ranked["rank"] = list(range(1, len(features) + 1))
    summary = {"features": len(features), "rows": 0, "tested": 0, "associated": 0, "causal": sum(1 for t in ranked["tier"] if t == 2)}
    return Ranking(ranked, order, {}, summary)


def _seed(item: Evidence, likeness: float, effect: Effect | None) -> float:
    stated = item.causal_effects
    association = min(1.0, abs(stated.get("signed_association", likeness)))
    first = [abs(value) for value in item.activation_signature[:16]]
    stability = min(1.0, 0.35 + sum(first) / len(first)) if first else 0.25
    measured = "signed_causal_effect" in stated or stated.get("intervention_record_count", 0.0) > 0
    causal = stated.get("criterion", 0.0) if measured else 0.0
    strong, specific, side = (stated.get(key, 0.0) for key in ("strong_causal_score", "specificity", "side_effect"))
    if effect is not None:
        causal, strong, specific = abs(effect.directed.mean), effect.strong, effect.specificity
        side = effect.side if effect.side is not None else side
    parts = [min(1.0, max(0.0, value)) for value in (association, strong, causal, specific, stability, side)]
    return round(min(1.0, max(0.0, float(np.dot(parts, [0.25, 0.30, 0.20, 0.15, 0.10, -0.10])))), 6)
