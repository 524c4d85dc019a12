"""Features in the order of their evidence for a criterion.

Three tiers. Highest: associated (q ≤ α on held-out rows) and causal (an effect whose interval is clear of 0 and that stands out from its
controls, with q ≤ α over the features that were changed), in the order of the strong causal score. Then: associated, in the order of the
lower end of the held-out AUROC's interval. Then the rest, likewise.
`importance` puts tier and order into one number: (tier + x)/3 with x = s/(1+s) of the strong score, or max(0, 2·low − 1). Where records say
which latents another start of their dictionary finds too, those go before the others of their tier: x ← (x + repeats)/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ..numbers import finite
from ..probes.score_interval import auroc_interval
from .association import Association, associate, auroc, correlation_interval, fold_sums, stability, tie_groups
from .column_store import FeatureColumn
from .effects import Effect
from .interp_lab_score import SeedScore, seed_score
from .per_text import per_text
from .permutation_null import PermutationNull
from .split import Design

COLUMNS = (
    *("rank", "feature_id", "layer", "label", "importance", "tier", "auroc", "auroc_low", "auroc_high", "auroc_fitted", "direction"),
    *("correlation", "correlation_low", "correlation_high", "z", "p", "q", "family_p", "fires", "density", "stability", "specificity"),
    *("effect", "effect_low", "effect_high", "effect_q", "clear", "side_effect", "control", "strong", "effect_rows"),
    "repeats",
)
"""Columns of a ranking's table, in this order."""
REPEATS = 0.7
"""Cosine from which on a latent is the same as one of another start (dictionaries/repetition.py)."""
LONG = 50_000
"""Rows from which on columns are ranked side by side, on `RankingSettings.threads` threads."""


@dataclass(frozen=True)
class RankingSettings:
    """How to rank. `minimum` is how many held-out rows a feature must fire on to be tested at all."""

    alpha: float
    permutations: int
    minimum: int
    seed: int
    seed_ranking: bool
    threads: int


@dataclass
class Ranking:
    """The table by column (each as long as there are features, in ranked order) and what holds for all of them."""

    table: dict[str, list[Any]]
    order: list[int]
    """The feature's number in the spool, by rank."""
    seed_scores: dict[str, SeedScore]
    summary: dict[str, Any] = field(default_factory=dict)


class _Weighed(NamedTuple):
    """What one feature's column says."""

    association: Association
    sums: Float64[np.ndarray, "3 folds"]
    specificity: float
    shuffled: Float64[np.ndarray, " shuffles"] | None
    seed: SeedScore | None


@dataclass(frozen=True)
class Other:
    """Another criterion to be told apart from: the rows that it scores, and its positives among them."""

    name: str
    scored: Bool[np.ndarray, " rows"]
    positive: Bool[np.ndarray, " rows"]


def rank(
    names: Sequence[str],
    column: Callable[[int], FeatureColumn],
    design: Design,
    settings: RankingSettings,
    *,
    effects: Mapping[str, Effect],
    others: Sequence[Other],
    layer: Callable[[str], int | None],
    about: Mapping[str, Mapping[str, Any]],
) -> Iterator[int | Ranking]:
    """Rank all features. Yields how many are done after each, and the ranking last. Several rows of a text count once, as their mean."""
    texts, rows_design = per_text(design), design
    if texts is not None:
        design = texts.design
        others = [Other(other.name, other.scored[texts.first], other.positive[texts.first]) for other in others]
    null = PermutationNull(design, settings.permutations, settings.seed) if settings.permutations else None
    associations: list[Association] = []
    sums = np.zeros((len(names), 3, 10))
    specific = np.full(len(names), np.nan)
    seed_scores: dict[str, SeedScore] = {}

    def weigh(index: int) -> _Weighed:
        as_recorded, name = column(index), names[index]
        grouped = as_recorded if texts is None else texts.column(as_recorded)
        result = associate(grouped, design)
        stated = about.get(name, {}).get("side_effect", 0.0) if settings.seed_ranking else None
        return _Weighed(
            result,
            fold_sums(grouped, design),
            specificity(grouped, result, design, others) if others else math.nan,
            null.of(grouped, result.direction) if null is not None and result.fires >= settings.minimum else None,
            seed_score(as_recorded, rows_design, effects.get(name), float(stated) if isinstance(stated, (int, float)) else 0.0)
            if settings.seed_ranking
            else None,
        )

    # numpy works beside itself on long columns; short ones cost only Python's time, which threads cannot share
    with ThreadPoolExecutor(settings.threads if len(rows_design.score) >= LONG else 1) as pool:
        try:
            for index, weighed in enumerate(pool.map(weigh, range(len(names)))):
                associations.append(weighed.association)
                sums[index], specific[index] = weighed.sums, weighed.specificity
                if null is not None:
                    null.add(weighed.shuffled)
                if weighed.seed is not None:
                    seed_scores[names[index]] = weighed.seed
                yield index + 1
        finally:
            pool.shutdown(cancel_futures=True)
    ranking = _assemble(names, associations, sums, specific, seed_scores, null, design, settings, effects, layer, about)
    ranking.summary |= {"rows": len(rows_design.score), "unit": "row" if texts is None else "text"}
    yield ranking


def specificity(column: FeatureColumn, own: Association, design: Design, others: Sequence[Other]) -> float:
    """|2A−1| for the criterion less the largest |2A−1| for another one, on held-out rows: ≤ 0 for a feature that fits another as well."""
    sizes = []
    for other in others:
        area = auroc(tie_groups(column, design.held_out & other.scored, other.positive))
        sizes.append(0.0 if math.isnan(area) else abs(2 * area - 1))
    return abs(2 * own.auroc - 1) - max(sizes)


def false_discovery(p: Float64[np.ndarray, " tests"]) -> Float64[np.ndarray, " tests"]:
    """Benjamini and Hochberg's adjusted p-values: a list of all with q ≤ α holds at most a share α of false discoveries on average."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def _assemble(
    names: Sequence[str],
    associations: Sequence[Association],
    sums: Float64[np.ndarray, "features 3 folds"],
    specific: Float64[np.ndarray, " features"],
    seed_scores: dict[str, SeedScore],
    null: PermutationNull | None,
    design: Design,
    settings: RankingSettings,
    effects: Mapping[str, Effect],
    layer: Callable[[str], int | None],
    about: Mapping[str, Mapping[str, Any]],
) -> Ranking:
    held = design.held_out
    positives, rows = int((held & design.positive).sum()), int(held.sum())
    values = {key: np.array([getattr(a, key) for a in associations], dtype=np.float64) for key in Association._fields}
    low, high = auroc_interval(values["auroc"], positives, rows - positives)
    r_low, r_high = correlation_interval(values["correlation"], rows)
    tested = values["fires"] >= settings.minimum
    q = np.ones(len(names))
    q[tested] = false_discovery(values["p"][tested])
    family = null.p_values(values["z"]) if null is not None else np.full(len(names), np.nan)
    family[~tested] = 1.0
    caused = [effects.get(name) for name in names]
    effect_q = np.full(len(names), np.nan)
    with_p = np.array([e is not None and e.p is not None for e in caused], dtype=bool)
    if with_p.any():
        effect_q[with_p] = false_discovery(np.array([e.p for e in caused if e is not None and e.p is not None]))
    clear = np.array([e is not None and e.clear for e in caused], dtype=bool) & ~(effect_q > settings.alpha)
    strong = np.array([e.strong if e is not None else np.nan for e in caused])
    associated = (q <= settings.alpha) & (values["auroc"] > 0.5)
    tier = associated.astype(int) + (associated & clear)
    within = np.where(tier == 2, strong / (1 + strong), np.maximum(0.0, 2 * np.nan_to_num(low) - 1))
    repeats = np.array([_cosine(about.get(name, {}).get("repeats")) for name in names])
    if np.isfinite(repeats).any():  # of a tier, first the latents that another start finds too
        within = (within + (repeats >= REPEATS)) / 2
    importance = (tier + within) / 3
    if settings.seed_ranking:
        importance = np.array([seed_scores[name].importance for name in names])
    # equal importance: the larger AUROC, then the order in which features were met
    order = sorted(range(len(names)), key=lambda i: (-importance[i], -np.nan_to_num(values["auroc"][i]), i))
    columns: dict[str, Sequence[Any]] = {
        "rank": [0] * len(names),
        "feature_id": names,
        "layer": [layer(name) for name in names],
        "label": [str(about.get(name, {}).get("label", "")) for name in names],
        "importance": importance.tolist(),
        "tier": tier.tolist(),
        "auroc": values["auroc"].tolist(),
        "auroc_low": low.tolist(),
        "auroc_high": high.tolist(),
        "auroc_fitted": values["fitted"].tolist(),
        "direction": [a.direction for a in associations],
        "correlation": values["correlation"].tolist(),
        "correlation_low": r_low.tolist(),
        "correlation_high": r_high.tolist(),
        "z": values["z"].tolist(),
        "p": values["p"].tolist(),
        "q": q.tolist(),
        "family_p": family.tolist(),
        "fires": [a.fires for a in associations],
        "density": (values["fires"] / rows).tolist(),
        "stability": stability(sums, design, settings.seed).tolist(),
        "specificity": specific.tolist(),
        "effect": [e.directed.mean if e else None for e in caused],
        "effect_low": [e.directed.low if e else None for e in caused],
        "effect_high": [e.directed.high if e else None for e in caused],
        "effect_q": effect_q.tolist(),
        "clear": clear.tolist(),
        "side_effect": [e.side if e else None for e in caused],
        "control": [e.control.mean if e and e.control else None for e in caused],
        "strong": strong.tolist(),
        "effect_rows": [e.directed.count if e else 0 for e in caused],
        "repeats": repeats.tolist(),
    }
    table = {key: [finite(columns[key][i]) for i in order] for key in COLUMNS}
    table["rank"] = list(range(1, len(names) + 1))
    summary = {
        "rows": len(design.score),
        "held_out_rows": rows,
        "held_out_positives": positives,
        "groups": design.groups,
        "features": len(names),
        "tested": int(tested.sum()),
        "associated": int(associated.sum()),
        "causal": int((tier == 2).sum()),
        "null_z_95": null.quantile(0.95) if null is not None else None,
    }
    return Ranking(table, order, seed_scores, summary)


def _cosine(stored: Any) -> float:
    return float(stored) if isinstance(stored, (int, float)) else math.nan
