"""A finished susceptibilities run's tokens: which text stands in which row, and how each token of it responds. Headless; reads files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp_tui.runs.arrays import read_array, read_tokens
from interp_tui.text.sanitise import clean
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.token_strip import Token
from interp_tui_engine.numbers import as_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

TREE = "susceptibilities.zarr"
LEVEL = 0.98
"""Share of a data set's tokens that lie inside the colour scale: a single outlier must not pale all others."""


@dataclass(frozen=True)
class RowSpan:
    """Where a data set's rows lie along the flattened axes: first entry, rows, tokens a row."""

    start: int
    rows: int
    length: int


@dataclass
class ResponseTokens:
    """Read once; a part's responses to a data set are read when they are looked at, and kept for a while."""

    folder: Path
    parts: list[str] = field(default_factory=list)
    responses: dict[str, RowSpan] = field(default_factory=dict)
    context: dict[str, RowSpan] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    _kept: dict[tuple[str, str, str], tuple[list[float | None], Scale]] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path, names: list[str]) -> ResponseTokens | None:
        """What the run left; None before it is there. `names` are the data sets in alphabetical order of their identifiers."""
        path = folder / TREE
        parts, ids = read_array(path / "susceptibilities", "wr"), read_array(path / "susceptibilities", "dataset_id")
        context_ids, texts = read_array(path / "context", "dataset_id"), read_tokens(folder)
        positions, places = (
            read_array(path / node, key) for node, key in (("susceptibilities", "target_position"), ("context", "position"))
        )
        if parts is None or ids is None or context_ids is None or positions is None or places is None or not texts:
            return None
        tokens = ResponseTokens(folder, [clean(str(part), limit=60) for part in parts.tolist()], texts=texts)
        for owner, where, into in ((ids, positions, tokens.responses), (context_ids, places, tokens.context)):
            for index, name in enumerate(names):
                here = (owner == index).nonzero()[0]
                if here.size:
                    length = len(set(where[here].tolist()))
                    into[name] = RowSpan(int(here[0]), here.size // length, length)
        return tokens

    def strip(self, part: str, data: str, row: int, quantity: str = "mean") -> tuple[list[Token], Scale]:
        """The tokens of a row with their responses (the first is predicted from nothing, so it has none), and the data set's scale.

        quantity: 'mean' for χ, or covariance, first_order, shift; χ in runs that do not hold them.
        """
        place, ids_at = self.responses.get(data), self.context.get(data)
        if place is None or ids_at is None or part not in self.parts or not 0 <= row < place.rows:
            return [], Scale(0.0, 0.0)
        values, scale = self._responses(part, data, place, quantity)
        mine = [None, *values[row * place.length : (row + 1) * place.length]]
        first = ids_at.start + row * ids_at.length
        ids = read_array(self.folder / TREE / "context", "input_ids", slice(first, first + ids_at.length))
        words = [self.texts.get(int(i), f"<{int(i)}>") for i in ids.tolist()] if ids is not None else []
        return [Token(clean(text, limit=40), value, text) for text, value in zip(words, mine, strict=False)], scale

    def _responses(self, part: str, data: str, place: RowSpan, quantity: str) -> tuple[list[float | None], Scale]:
        key = (part, data, quantity)
        if key not in self._kept:
            here = slice(place.start, place.start + place.rows * place.length)
            column = self._column(quantity, here, self.parts.index(part))
            values = [as_finite(float(v)) for v in column.tolist()] if column is not None else []
            sizes = sorted(abs(v) for v in values if v is not None)
            reach = sizes[min(len(sizes) - 1, int(LEVEL * len(sizes)))] if sizes else 0.0
            if len(self._kept) > 64:
                self._kept.clear()
            self._kept[key] = (values, Scale(-reach, reach))
        return self._kept[key]

    def _column(self, quantity: str, here: slice, part: int) -> NDArray[Any] | None:
        node = self.folder / TREE / "susceptibilities"
        chi: NDArray[Any] | None = read_array(node, "sus", here, part)
        if quantity == "mean" or chi is None:
            return chi
        other: NDArray[Any] | None = read_array(node, "covariance" if quantity == "shift" else quantity, here, part)
        return chi if other is None else chi - other if quantity == "shift" else other
