"""What tokens say, for those who look at a run without its tokenizer: tokens.json, {token id: text}."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .. import atomic
from ..models.loaded import LoadedModel

TOKENS = "tokens.json"


def token_texts(model: LoadedModel, ids: Iterable[int]) -> dict[int, str]:
    """The text of each token on its own; its number where the model has no tokenizer."""
    unique = sorted({int(i) for i in ids})
    if model.tokenizer is None:
        return {i: f"⟨{i}⟩" for i in unique}
    texts: list[str] = model.tokenizer.batch_decode([[i] for i in unique], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return dict(zip(unique, texts, strict=True))


def write_tokens(folder: Path, model: LoadedModel, ids: Iterable[np.ndarray]) -> dict[int, str]:
    """Write the texts of all tokens in these arrays beside them."""
    texts = token_texts(model, np.unique(np.concatenate([array.ravel() for array in ids])).tolist())
    atomic.write_json(folder / TOKENS, {str(i): text for i, text in texts.items()})
    return texts
