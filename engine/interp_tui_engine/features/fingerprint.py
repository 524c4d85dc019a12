"""What a feature is like, as vectors that can be compared between models: its text, its activations, its decoder row, its effects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

TEXT_DIMENSIONS = 128
EMBEDDER = "hash-v1"
SIGNATURE = 128
"""Activations kept of a feature, on the rows that `signature_rows` chooses for all of them."""
CAUSAL = ("criterion", "signed_causal_effect", "specificity", "side_effect")
ASSOCIATED = ("criterion", "signed_association", "specificity", "side_effect")
_WORD = re.compile(r"[a-zA-Z0-9_']+")


def text_vector(text: str) -> Float64[np.ndarray, " dimensions"]:
    """A unit bag of words, each hashed to one signed dimension: equal texts give equal vectors in every language and on every machine."""
    vector = np.zeros(TEXT_DIMENSIONS)
    for word in _WORD.findall(text):
        digest = hashlib.blake2b(word.lower().encode(), digest_size=8).digest()
        vector[int.from_bytes(digest[:4], "big") % TEXT_DIMENSIONS] += 1.0 if digest[4] % 2 == 0 else -1.0
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def signature_rows(positive: Bool[np.ndarray, " rows"]) -> Int64[np.ndarray, " chosen"]:
    """At most SIGNATURE rows on which all features of a report are told: half of them positives where there are so many, spread evenly.

    The same rows for every feature, or the signatures of sparse ones would be of different texts in each place.
    """
    chosen: list[Int64[np.ndarray, " some"]] = []
    left = min(SIGNATURE, len(positive))
    for members, share in ((np.flatnonzero(positive), SIGNATURE // 2), (np.flatnonzero(~positive), SIGNATURE)):
        rest = len(positive) - len(members) if not chosen else 0
        count = min(len(members), max(share, left - rest), left)
        chosen.append(members[np.arange(count) * len(members) // max(1, count)])
        left -= count
    return np.sort(np.concatenate(chosen))


def rows_mark(texts: Sequence[str]) -> str:
    """What names the rows of a signature: two are compared where these are equal."""
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def fingerprint(
    card: Mapping[str, Any], criterion: str, activations: Sequence[float], decoder: list[float], rows: str = ""
) -> dict[str, Any]:
    """The fingerprint of a card, as report.json holds it; `rows` names those of the activations, as `rows_mark` does."""
    effects: Mapping[str, float] = card["causal_effects"]
    measured = "signed_causal_effect" in effects
    keys = CAUSAL if measured else ASSOCIATED
    any_effect = measured or "signed_association" in effects
    text = " ".join(part for part in (card["label"], card["explanation"], " ".join(card["examples"][:3]), criterion) if part)
    return {
        "feature_id": card["feature_id"],
        "model": card["model"],
        "layer": card["layer"],
        "text": text,
        "text_vector": [round(value, 6) for value in text_vector(text).tolist()],
        "text_embedder": EMBEDDER,
        "activation_signature": [round(value, 6) for value in activations[:SIGNATURE]],
        **({"activation_rows": rows} if rows else {}),
        "decoder_signature": decoder,
        "causal_vector": [float(effects.get(key) or 0.0) for key in keys] if any_effect else [],
        "causal_provenance": "intervention" if measured else "association" if any_effect else "none",
        "neighbor_labels": [],
    }
