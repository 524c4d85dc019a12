"""Which feature of one model is which of another: fingerprint similarity, a one-to-one assignment, and how much of it chance would give.

Each axis that both fingerprints have (text .35, activation .25, decoder .20, causal .20) gives (cos + 1)/2; axes that either lacks, or has
in another length, embedder or provenance, are dropped and the weights made to add up to 1 again. With signed effects of one provenance

    score = .85·similarity + .15·(1 − |e_left − e_right|/2),   at most .49 where their signs oppose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

WEIGHTS: dict[str, float] = {"text": 0.35, "activation": 0.25, "decoder": 0.20, "causal": 0.20}
FIELDS = {"text": "text_vector", "activation": "activation_signature", "decoder": "decoder_signature", "causal": "causal_vector"}
OPPOSED = 0.49
LEAST_EFFECT = 0.02
"""Effects smaller than this have no sign to oppose."""

Matrix = Float64[np.ndarray, "left right"]


class Axis(NamedTuple):
    """One axis of all features of a side: unit vectors (zero rows where it is missing), and what must agree for two to be compared."""

    unit: Float64[np.ndarray, "features width"]
    kind: list[tuple[Any, ...] | None]


class Match(NamedTuple):
    """A pair that was assigned: places among the left and right cards, score, components, and the share of chance's scores below it."""

    left: int
    right: int
    score: float
    components: dict[str, float]
    quantile: float


def axes_of(cards: Sequence[Mapping[str, Any]]) -> dict[str, Axis]:
    """The axes of a report's cards. Vectors are padded to one width; only equal lengths are ever compared."""
    found = {}
    for name, field in FIELDS.items():
        vectors = [np.asarray(card.get("fingerprint", {}).get(field) or [], dtype=np.float64) for card in cards]
        unit = np.zeros((len(cards), max([1, *map(len, vectors)])))
        kinds: list[tuple[Any, ...] | None] = []
        for row, (card, vector) in enumerate(zip(cards, vectors, strict=True)):
            size = float(np.linalg.norm(vector))
            said = card.get("fingerprint", {})
            mark = said.get("text_embedder", "hash-v1") if name == "text" else said.get("causal_provenance") if name == "causal" else ""
            mark = said.get("decoder_basis", "") if name == "decoder" else mark
            known = len(vector) > 0 and np.isfinite(vector).all() and size > 0 and mark != "none"
            kinds.append((len(vector), mark) if known else None)
            if known:
                unit[row, : len(vector)] = vector / size
        found[name] = Axis(unit, kinds)
    return found


def effects_of(cards: Sequence[Mapping[str, Any]]) -> list[tuple[str, float] | None]:
    """Each card's signed effect with where it comes from: an intervention, else an association, else None."""
    found: list[tuple[str, float] | None] = []
    for card in cards:
        effects = card.get("causal_effects") or {}
        keys = (("intervention", "signed_causal_effect"), ("association", "signed_association"))
        said = [(kind, float(effects[key])) for kind, key in keys if isinstance(effects.get(key), (int, float))]
        found.append(said[0] if said else None)
    return found


def similarity(left: Mapping[str, Axis], right: Mapping[str, Axis], weights: Mapping[str, float]) -> tuple[Matrix, dict[str, Matrix]]:
    """Similarity of every pair (NaN where they share no axis), and each axis's part of it (NaN where it was dropped)."""
    parts = {}
    for name in weights:
        both = np.array([[a is not None and a == b for b in right[name].kind] for a in left[name].kind], dtype=bool)
        width = max(left[name].unit.shape[1], right[name].unit.shape[1])
        cosine = _padded(left[name].unit, width) @ _padded(right[name].unit, width).T
        parts[name] = np.where(both, (np.clip(cosine, -1, 1) + 1) / 2, np.nan)
    total = sum(weights[name] * ~np.isnan(part) for name, part in parts.items())
    added = sum(weights[name] * np.nan_to_num(part) for name, part in parts.items())
    return np.divide(added, total, out=np.full(np.shape(total), np.nan), where=np.asarray(total) > 0), parts


def scores(similar: Matrix, left: Sequence[tuple[str, float] | None], right: Sequence[tuple[str, float] | None]) -> Matrix:
    """The similarity with signed effects taken in, where both have one of the same provenance."""
    a = np.array([math.nan if e is None else e[1] for e in left])[:, None]
    b = np.array([math.nan if e is None else e[1] for e in right])[None, :]
    same = np.array([[x is not None and y is not None and x[0] == y[0] for y in right] for x in left], dtype=bool).reshape(similar.shape)
    with np.errstate(invalid="ignore"):
        blended = 0.85 * similar + 0.15 * np.clip(1 - np.abs(a - b) / 2, 0, 1)
        opposed = (a * b < 0) & (np.minimum(np.abs(a), np.abs(b)) >= LEAST_EFFECT)
    return np.where(same, np.where(opposed, np.minimum(blended, OPPOSED), blended), similar)


def assign(score: Matrix, least: float) -> list[tuple[int, int]]:
    """The one-to-one pairs of the largest total score (Kuhn's Hungarian method), less those below `least`; best first."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.nan_to_num(score, nan=-1.0), maximize=True)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if not np.isnan(score[i, j]) and score[i, j] >= least]
    return sorted(pairs, key=lambda pair: (-score[pair], pair))


def match(
    left: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    *,
    weights: Mapping[str, float],
    least: float,
    shuffles: int,
    seed: int,
) -> tuple[list[Match], float]:
    """The matches, best first, and the score that 95 % of chance's matches stay below (NaN without shuffles).

    Chance: the coordinates of the right side's vectors are shuffled, each axis by one permutation for all its features, which breaks what
    the coordinates have in common with the left's and nothing else; effects are dealt anew to the features. Then the same is done.
    """
    axes, effects = (axes_of(left), axes_of(right)), (effects_of(left), effects_of(right))
    similar, parts = similarity(*axes, weights)
    score = scores(similar, *effects)
    pairs = assign(score, least)
    chance = np.sort(np.concatenate([np.zeros(0), *_chance(axes, effects, weights, shuffles, seed)]))
    found = []
    for i, j in pairs:
        components = {name: float(part[i, j]) for name, part in parts.items() if not np.isnan(part[i, j])}
        both = effects[0][i], effects[1][j]
        if both[0] is not None and both[1] is not None and both[0][0] == both[1][0]:
            components["signed_effect"] = float(np.clip(1 - abs(both[0][1] - both[1][1]) / 2, 0, 1))
        quantile = float(np.searchsorted(chance, score[i, j]) / len(chance)) if len(chance) else math.nan
        found.append(Match(i, j, float(score[i, j]), components, quantile))
    return found, float(np.quantile(chance, 0.95)) if len(chance) else math.nan


def _chance(
    axes: tuple[dict[str, Axis], dict[str, Axis]],
    effects: tuple[list[tuple[str, float] | None], list[tuple[str, float] | None]],
    weights: Mapping[str, float],
    shuffles: int,
    seed: int,
) -> list[Float64[np.ndarray, " pairs"]]:
    rng = np.random.default_rng([seed, 0x3A7C])
    found = []
    for _ in range(shuffles):
        moved = {}
        for name, axis in axes[1].items():
            if name == "causal":  # four named numbers: they go to other features together
                place = rng.permutation(len(axis.kind))
                moved[name] = Axis(axis.unit[place], [axis.kind[i] for i in place])
                continue
            unit = axis.unit.copy()
            for length in {kind[0] for kind in axis.kind if kind is not None}:
                rows = np.array([i for i, kind in enumerate(axis.kind) if kind is not None and kind[0] == length])
                unit[rows, :length] = unit[rows][:, rng.permutation(length)]
            moved[name] = Axis(unit, axis.kind)
        dealt = [effects[1][i] for i in rng.permutation(len(effects[1]))]
        score = scores(similarity(axes[0], moved, weights)[0], effects[0], dealt)
        pairs = assign(score, 0.0)
        found.append(np.array([score[pair] for pair in pairs]))
    return found


def _padded(unit: Float64[np.ndarray, "features width"], width: int) -> Float64[np.ndarray, "features wider"]:
    return np.pad(unit, ((0, 0), (0, width - unit.shape[1])))
