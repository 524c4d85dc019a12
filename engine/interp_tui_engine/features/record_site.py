"""Where the activations of a record file were read, if its columns are all hidden dimensions of one layer in their order. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import ids
from .layer_convention import convention_of, in_blocks


def hidden_layer(names: Sequence[str], about: Mapping[str, Mapping[str, Any]]) -> int | None:
    """The block whose output they are; None for anything else. about: what the file says of each column, such as how it counts layers.

    Raises UserError for interp-lab's hidden state 0, which no block puts out, and for columns that count layers in two ways.
    """
    first = ids.parse(names[0]) if names else None
    if first is None or list(names) != [ids.hidden(first.layer, place) for place in range(len(names))]:
        return None
    cards = [{"feature_id": name, "source": about.get(name, {}).get("source"), "metadata": about.get(name, {})} for name in names]
    counted = ids.parse(in_blocks(names[0], convention_of(cards)))
    return None if counted is None else counted.layer
