"""How a file counts layers. Here layer 2 is the output of block 2; interp-lab's is `hidden_states[2]`, the output of block 1.

interp-lab's exporters say so (`layer_convention = "hidden_state_index"`), the older ones only by their `source`. Names keep the numbers
they came with, so that files go on fitting together; they are translated where a feature is looked up in a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from ..errors import UserError

Convention = Literal["block", "hidden_state_index"]
HIDDEN_STATES: Convention = "hidden_state_index"
PEER_SOURCES = frozenset(
    {"hf-hidden-state", "hf-hidden-state-group", "hf-contrast-direction", "trained-sae", "nnsight", "transformerlens", "gguf-hidden-state"}
)
"""What interp-lab's exporters write as `source` of features that they number by hidden states."""

_LAYER = re.compile(r"(?:(?<=^)|(?<=:))L(\d+)(?=:)")


def convention_of(cards: Iterable[Mapping[str, Any]]) -> Convention:
    """The one convention of a report's cards. Raises UserError where they name one that is not known, or differ."""
    conventions = {_of_card(card) for card in cards}
    if len(conventions) > 1:
        raise UserError("the report's cards count layers in two ways", "set params.layer_convention to the one that is meant")
    return conventions.pop() if conventions else "block"


def _of_card(card: Mapping[str, Any]) -> Convention:
    metadata = card.get("metadata")
    stated = metadata.get("layer_convention") if isinstance(metadata, Mapping) else None
    if stated is None:
        return HIDDEN_STATES if card.get("source") in PEER_SOURCES else "block"
    if stated not in get_args(Convention):
        raise UserError(
            f"{card.get('feature_id')!r:.60} has layer_convention = {stated!r:.40}", f"known are {', '.join(get_args(Convention))}"
        )
    return "block" if stated == "block" else HIDDEN_STATES


def in_blocks(name: str, convention: Convention) -> str:
    """A feature's id with its layer counted as here. Raises UserError for hidden state 0, the embedding, which no block puts out."""
    if convention == "block":
        return name
    match = _LAYER.search(name)
    if match is not None and int(match[1]) == 0:
        raise UserError(
            f"{name!r:.60} is of hidden state 0, the embedding", "features are read and changed after blocks: hidden states from 1 on"
        )
    return _shifted(name, -1)


def as_given(name: str, convention: Convention) -> str:
    """An id of ours as the convention has it: what `in_blocks` was given."""
    return name if convention == "block" else _shifted(name, 1)


def _shifted(name: str, by: int) -> str:
    return _LAYER.sub(lambda match: f"L{int(match[1]) + by}", name, count=1)


def remark(convention: Convention, last_layer: int, layers: Iterable[int]) -> list[str]:
    """What to say of a report that counts otherwise than here; `layers` as here, of a model whose last one is `last_layer`."""
    if convention == "block":
        return []
    sentences = ["layers are counted as interp-lab does, by hidden states: its L2 is the output of block 1 (params.layer_convention)"]
    if last_layer in layers:
        sentences.append(f"its L{last_layer + 1} was read after the final norm; here block {last_layer} is changed before it")
    return sentences
