"""How the parts of a model respond to one token, and which other tokens they respond to alike, from the arrays of a susceptibilities run.

Headless; reads files, so call it from a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp_tui_engine.numbers import as_finite

from .arrays import read_array, read_tokens
from .token_at import TokenAt, agreeing, bare

if TYPE_CHECKING:
    from numpy.typing import NDArray

TREE = "susceptibilities.zarr"
ARRAYS = {"susceptibility": "sus", "covariance": "covariance", "first_order": "first_order"}
"""The array of each quantity that a run may rank tokens by."""
QUANTITIES = {"susceptibility": "χ", "covariance": "covariance", "first_order": "first order"}
ALIKE = 5
"""Other tokens that are named."""
LEAST_PARTS = 3
"""Parts from which on it says something that two tokens respond alike over them."""


@dataclass(frozen=True)
class RespondingParts:
    """whole: the very text stands in the run's data. text: what stands before the token there, and it. by_part: the strongest first.
    alike: other tokens, and the cosine of their responses with this one's over parts, each in standard deviations over tokens."""

    whole: bool
    text: str
    by_part: tuple[tuple[str, float], ...]
    alike: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Place:
    """A token of the data that the responses are of: its entry along their flattened axis, and where it stands in its row."""

    entry: int
    row: Sequence[str]
    place: int

    @property
    def word(self) -> str:
        return bare(self.row[self.place])


def responses(folder: Path, ranked_by: str, token: TokenAt) -> RespondingParts | None:
    """What the run says of the token where most of the text before it is the same; None without arrays, or where it does not stand."""
    node = folder / TREE / "susceptibilities"
    values, parts = read_array(node, ARRAYS.get(ranked_by, "sus")), read_array(node, "wr")
    if values is None or parts is None or values.ndim != 2 or values.dtype.kind != "f" or parts.shape != values.shape[1:]:
        return None
    places = [place for place in _places(folder) if place.entry < len(values)]
    counts = {place: agreeing(here.row, here.place, token) for place, here in enumerate(places) if here.word == token.word}
    if not counts:
        return None
    best_place = max(counts, key=lambda place: counts[place])
    best = places[best_place]
    numbers = zip(map(str, parts.tolist()), map(as_finite, values[best.entry].tolist()), strict=True)
    by_part = sorted(((part, value) for part, value in numbers if value is not None), key=lambda pair: -abs(pair[1]))
    whole = counts[best_place] == len(token.tokens) == best.place + 1
    text = "".join(best.row[max(0, best.place - 7) : best.place + 1])
    return RespondingParts(whole, text, tuple(by_part), tuple(islice(_alike(values, places, best), ALIKE)))


def _places(folder: Path) -> Iterator[_Place]:
    """All tokens that there are responses to: each of a row but its first, which is predicted from nothing."""
    tree, texts = folder / TREE, read_tokens(folder)
    owners, positions = read_array(tree / "susceptibilities", "dataset_id"), read_array(tree / "susceptibilities", "target_position")
    context_owners, ids = read_array(tree / "context", "dataset_id"), read_array(tree / "context", "input_ids")
    if owners is None or positions is None or context_owners is None or ids is None or not texts:
        return
    flat = owners.ndim == ids.ndim == 1 and owners.shape == positions.shape and context_owners.shape == ids.shape
    if not flat or ids.dtype.kind not in "iu":  # not of this program
        return
    for name in dict.fromkeys(owners.tolist()):
        entries, inputs = (owners == name).nonzero()[0].tolist(), ids[(context_owners == name).nonzero()[0]].tolist()
        length = len(set(positions[entries].tolist()))
        for index in range(len(entries) // length):
            first = index * (length + 1)
            row = [texts.get(int(one), f"<{int(one)}>") for one in inputs[first : first + length + 1]]
            for place in range(1, len(row)):
                yield _Place(entries[index * length + place - 1], row, place)


def _alike(values: NDArray[Any], places: list[_Place], best: _Place) -> Iterator[tuple[str, float]]:
    """Other words, those to which parts respond most like to this token first."""
    import numpy as np

    if values.shape[1] < LEAST_PARTS:
        return
    least = np.finfo(np.float32).tiny
    scaled = np.nan_to_num(values / np.maximum(np.nanstd(values, axis=0), least))
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), least)
    cosines = (scaled @ scaled[best.entry]).tolist()
    seen = {best.word}
    for place in sorted(places, key=lambda place: -cosines[place.entry]):
        if place.word not in seen:
            seen.add(place.word)
            yield place.word, cosines[place.entry]
