"""Records whose truth is known: one feature causes the criterion, some merely go along with it, the rest is noise.

A text either meets the criterion or not. The causal feature and the followers rise with it by as many standard deviations each, noise does
not.
Ablating the causal feature lowers the score by `effect` on average, ablating any other does nothing beyond the noise of scoring.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from . import ids, records
from .fingerprint import text_vector
from .interventions import Intervention

MODEL = "builtin:planted"
CRITERION = "the text is about the planted topic"


class Planted(NamedTuple):
    """One draw: activations (rows, features), which rows are positive, intervention rows, and which features are what."""

    activations: Float64[np.ndarray, "rows features"]
    positive: Bool[np.ndarray, " rows"]
    interventions: list[Intervention]
    causal: int
    followers: list[int]
    model: str = MODEL

    def name(self, feature: int) -> str:
        """The feature's id."""
        return ids.hidden(feature // 64, feature % 64)

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows as activation records."""
        for index, (row, positive) in enumerate(zip(self.activations.tolist(), self.positive.tolist(), strict=True)):
            features = {self.name(feature): round(value, 6) for feature, value in enumerate(row)}
            topic = "the planted topic" if positive else "something else"
            yield records.record(self.model, f"p{index}", f"Text {index} is about {topic}.", float(positive), features)


def planted(
    seed: int,
    *,
    rows: int,
    features: int,
    followers: int,
    shift: float,
    effect: float,
    prompts: int,
    noise: float = 0.1,
    controls: int = 239,
    model: str = MODEL,
) -> Planted:
    """Draw records and interventions. `shift` in standard deviations, `effect` and `noise` in the score's unit; `controls` for all features
    together, so many that one effect beyond them is clear among the twelve features that are changed."""
    rng = np.random.default_rng([seed, 0x91A7])
    positive = rng.permutation(rows) < rows // 2
    activations = rng.normal(size=(rows, features))
    chosen = rng.permutation(features)[: followers + 1].tolist()
    activations[:, chosen] += shift * positive[:, None]
    causal, rest = chosen[0], chosen[1:]
    draw = Planted(activations, positive, [], causal, rest, model)
    tested = [*chosen, *(f for f in range(features) if f not in chosen)][: max(followers + 1, min(features, 12))]
    others = [f for f in range(features) if f not in tested] or tested
    moved = [(feature, None) for feature in tested] + [(others[number % len(others)], number) for number in range(controls)]
    for feature, number in moved:
        for prompt in range(prompts):
            base = 0.8 + noise * rng.normal()
            gone = effect if feature == causal and number is None else 0.0
            draw.interventions.append(
                Intervention(
                    model=model,
                    feature_id=draw.name(feature) if number is None else f"control-{number}",
                    verb="ablate",
                    baseline=base,
                    changed=base - gone + noise * rng.normal(),
                    prompt_id=f"p{prompt}",
                    side_effect=0.02 * abs(rng.normal()),
                    metadata={} if number is None else {"control_type": "random", "draw": number, "changed": draw.name(feature)},
                )
            )
    return draw


def seed_of(model: str, seed: int) -> int:
    """A seed of a model's name: planted models of different names differ."""
    return int.from_bytes(sha256(f"{seed} {model}".encode()).digest()[:4], "big")


def twins(seed: int, *, features: int, shared: int, noise: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """Cards of two models that share some features, in another order and with noise; and which left one is which right one."""
    rng = np.random.default_rng([seed, 0x7717])
    latent = rng.normal(size=(features, 64))
    other = latent.copy()
    other[shared:] = rng.normal(size=(features - shared, 64))
    order = rng.permutation(features).tolist()
    words = ["river", "city", "number", "colour", "verb", "quote", "date", "metal", "animal", "bracket", "name", "unit"]
    sides = []
    for model, vectors, places in (("left", latent, list(range(features))), ("right", other, order)):
        cards = []
        for number, source in enumerate(places):
            same = source < shared
            text = f"{words[source % len(words)]} {source}" if same or model == "left" else f"{words[number % len(words)]} of {model}"
            signature = vectors[source] + noise * rng.normal(size=64)
            effect = (1 if source % 3 else -1) * (0.2 + 0.05 * (source % 5))
            fingerprint = {
                "text": text,
                "text_vector": text_vector(text).tolist(),
                "activation_signature": signature.tolist(),
                "decoder_signature": [],
                "causal_vector": [],
                "causal_provenance": "none",
            }
            name = ids.latent(2, number)
            cards.append(
                {
                    **{"feature_id": name, "model": f"builtin:planted-{model}", "layer": 2, "label": text, "explanation": ""},
                    "causal_effects": {"signed_causal_effect": effect + 0.02 * rng.normal()} if same else {},
                    **{"examples": [f"… a text about {text}"], "fingerprint": fingerprint, "metadata": {}},
                }
            )
        sides.append(cards)
    truth = {ids.latent(2, source): ids.latent(2, place) for place, source in enumerate(order) if source < shared}
    return sides[0], sides[1], truth
