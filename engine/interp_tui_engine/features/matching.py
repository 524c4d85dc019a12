"""Which feature of one model is which of another: fingerprint similarity, a one-to-one assignment, and what strangers would score.

Each axis that both fingerprints have (text .35, activation .25, decoder .20, causal .20) gives (cos + 1)/2; axes that either lacks, or has
in another length, embedder or provenance, are dropped and the weights made to add up to 1 again. With signed effects of one provenance

    score = .85·similarity + .15·(1 − |e_left − e_right|/2),   at most .49 where their signs oppose,

e within [−1, 1]: effects in nats, which can be larger, as shares of their side's largest.
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


class SignatureAxis(NamedTuple):
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


def axes_of(cards: Sequence[Mapping[str, Any]]) -> dict[str, SignatureAxis]:
    """The axes of a report's cards. Vectors are padded to one width; only equal lengths are ever compared."""
    axes = {}
    for name, field in FIELDS.items():
        vectors = [np.asarray(card.get("fingerprint", {}).get(field) or [], dtype=np.float64) for card in cards]
        unit = np.zeros((len(cards), max([1, *map(len, vectors)])))
        kinds: list[tuple[Any, ...] | None] = []
        for row, (card, vector) in enumerate(zip(cards, vectors, strict=True)):
            size = float(np.linalg.norm(vector))
            fingerprint = card.get("fingerprint", {})
            mark = (
                fingerprint.get("text_embedder", "hash-v1")
                if name == "text"
                else fingerprint.get("causal_provenance")
                if name == "causal"
                else ""
            )
            mark = fingerprint.get("decoder_basis", "") if name == "decoder" else mark
            mark = fingerprint.get("activation_rows", "") if name == "activation" else mark
            usable = len(vector) > 0 and np.isfinite(vector).all() and size > 0 and mark != "none"
            kinds.append((len(vector), mark) if usable else None)
            if usable:
                unit[row, : len(vector)] = vector / size
        axes[name] = SignatureAxis(unit, kinds)
    return axes


def effects_of(cards: Sequence[Mapping[str, Any]]) -> list[tuple[str, float] | None]:
    """Each card's signed effect with where it comes from: an intervention, else an association, else None."""
    first_of_each: list[tuple[str, float] | None] = []
    for card in cards:
        effects = card.get("causal_effects") or {}
        keys = (("intervention", "signed_causal_effect"), ("association", "signed_association"))
        stated = [(kind, float(effects[key])) for kind, key in keys if isinstance(effects.get(key), (int, float))]
        first_of_each.append(stated[0] if stated else None)
    return first_of_each


def shares(effects: Sequence[tuple[str, float] | None]) -> list[tuple[str, float] | None]:
    """Effects as shares of the largest of their provenance where that is more than 1, else as they are."""
    largest: dict[str, float] = {}
    for stated in effects:
        if stated is not None:
            largest[stated[0]] = max(largest.get(stated[0], 1.0), abs(stated[1]))
    return [None if stated is None else (stated[0], stated[1] / largest[stated[0]]) for stated in effects]


def similarity(
    left: Mapping[str, SignatureAxis], right: Mapping[str, SignatureAxis], weights: Mapping[str, float]
) -> tuple[Matrix, dict[str, Matrix]]:
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
    """The matches, best first, and the score that 95 % of chance's matches stay below (NaN without shuffles); see `decoys` for chance."""
    axes, effects = (axes_of(left), axes_of(right)), (shares(effects_of(left)), shares(effects_of(right)))
    similar, parts = similarity(*axes, weights)
    score = scores(similar, *effects)
    pairs = assign(score, least)
    used = {name: weights[name] for name, part in parts.items() if not np.isnan(part).all()}
    larger = max(len(left), len(right))
    sides = [place for place, cards in enumerate((left, right)) if len(cards) == larger]
    within = [scores(similarity(axes[place], axes[place], used)[0], effects[place], effects[place]) for place in sides] if used else []
    chance = np.sort(np.concatenate([np.zeros(0), *(decoys(own, min(len(left), len(right)), shuffles, seed) for own in within)]))
    matches = []
    for i, j in pairs:
        components = {name: float(part[i, j]) for name, part in parts.items() if not np.isnan(part[i, j])}
        both = effects[0][i], effects[1][j]
        if both[0] is not None and both[1] is not None and both[0][0] == both[1][0]:
            components["signed_effect"] = float(np.clip(1 - abs(both[0][1] - both[1][1]) / 2, 0, 1))
        # of N strangers and the pair itself: 1 − quantile is a p-value (Phipson & Smyth 2010)
        quantile = float(np.searchsorted(chance, score[i, j]) / (len(chance) + 1)) if len(chance) else math.nan
        matches.append(Match(i, j, float(score[i, j]), components, quantile))
    return matches, float(np.quantile(chance, 0.95)) if len(chance) else math.nan


def decoys(own: Float64[np.ndarray, "features features"], rows: int, shuffles: int, seed: int) -> Float64[np.ndarray, " pairs"]:
    """The scores of optimal assignments among the features of one side, none to itself: what two features that are not the same score.

    All features of a report share its criterion, its texts and its way of speaking, so that vectors with those taken away are no measure of
    chance: a stranger would beat them. Another feature of the same side has all of that and is still another one. `own` is the score of
    each feature with each of the larger side; in each shuffle `rows` of them, as many as the smaller side has, are assigned to all the
    others, so that the best of as many candidates is taken as between the sides. Where both sides come from one distribution and have
    nothing to do with each other, their pairs and these are alike (cf. decoys in proteomics: Elias & Gygi 2007).
    """
    count = len(own)
    if count < 2 or not shuffles:
        return np.zeros(0)
    strangers = own.copy()
    np.fill_diagonal(strangers, np.nan)
    rng = np.random.default_rng([seed, 0x3A7C])
    scores = []
    for _ in range(shuffles if rows < count else 1):  # where all are taken every shuffle is the same
        score = strangers[np.sort(rng.choice(count, rows, replace=False))]
        scores.append(np.array([score[pair] for pair in assign(score, 0.0)]))
    return np.concatenate(scores)


def _padded(unit: Float64[np.ndarray, "features width"], width: int) -> Float64[np.ndarray, "features wider"]:
    return np.pad(unit, ((0, 0), (0, width - unit.shape[1])))
