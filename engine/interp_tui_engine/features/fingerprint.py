"""What a feature is like, as vectors that can be compared between models: its text, its activations, its decoder row, its effects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

TEXT_DIMENSIONS = 128
EMBEDDER = "hash-v1"
SIGNATURE = 128
"""Activations kept of a feature: those on the first rows that name it."""
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


def fingerprint(card: Mapping[str, Any], criterion: str, activations: list[float], decoder: list[float]) -> dict[str, Any]:
    """The fingerprint of a card, as report.json holds it."""
    effects: Mapping[str, float] = card["causal_effects"]
    measured = "signed_causal_effect" in effects
    keys = CAUSAL if measured else ASSOCIATED
    known = measured or "signed_association" in effects
    text = " ".join(part for part in (card["label"], card["explanation"], " ".join(card["examples"][:3]), criterion) if part)
    return {
        "feature_id": card["feature_id"],
        "model": card["model"],
        "layer": card["layer"],
        "text": text,
        "text_vector": [round(value, 6) for value in text_vector(text).tolist()],
        "text_embedder": EMBEDDER,
        "activation_signature": [round(value, 6) for value in activations[:SIGNATURE]],
        "decoder_signature": decoder,
        "causal_vector": [float(effects.get(key) or 0.0) for key in keys] if known else [],
        "causal_provenance": "intervention" if measured else "association" if known else "none",
        "neighbor_labels": [],
    }
