"""What a patching run has told of so far, as grids: layer × position for each kind of site, layer × position × head for heads. Headless.

Batches of cells may come in any order, twice, or malformed: what does not fit is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp_tui.text.sanitise import clean
from interp_tui_engine.numbers import as_finite

MOST_CELLS = 2_000_000
Place = tuple[int, int, int, int]
"""Index of the kind of site (one past the last means heads), layer, position, head."""


@dataclass
class PairGrid:
    """One pair's prompts and recoveries."""

    tokens: list[str] = field(default_factory=list)
    corrupt_tokens: list[str] = field(default_factory=list)
    answer: str = ""
    counterfactual: str = ""
    metric: str = ""
    first: int = 0
    last: int = 0
    clean_metric: float | None = None
    corrupt_metric: float | None = None
    cells: dict[Place, float] = field(default_factory=dict)

    def patched(self, recovery: float) -> float | None:
        """The metric that a recovery stands for."""
        if self.clean_metric is None or self.corrupt_metric is None:
            return None
        return self.corrupt_metric + recovery * (self.clean_metric - self.corrupt_metric)


@dataclass
class Recovered:
    """All pairs of a run, and what they share."""

    sites: list[str] = field(default_factory=list)
    layers: int = 0
    heads: int = 0
    expected: int = 0
    """How many pairs there will be."""
    pairs: dict[int, PairGrid] = field(default_factory=dict)
    count: int = 0
    _read: set[int] = field(default_factory=set)

    def read(self, batches: Mapping[int, Mapping[str, Any]]) -> None:
        """Take in the batches that are new."""
        for step in [step for step in batches if step not in self._read]:
            self._read.add(step)
            self._take(batches[step])

    def _take(self, batch: Mapping[str, Any]) -> None:
        index, cells, values = batch.get("pair"), batch.get("cells"), batch.get("recovery")
        if type(index) is not int or not isinstance(cells, list) or not isinstance(values, list):
            return
        pair = self.pairs.setdefault(index, PairGrid())
        pair.clean_metric, pair.corrupt_metric = as_finite(batch.get("clean_metric")), as_finite(batch.get("corrupt_metric"))
        if "tokens" in batch:
            self._head(pair, batch)
        for cell, value in zip(cells, values, strict=False):
            said = as_finite(value)
            if said is not None and isinstance(cell, list) and len(cell) == 4 and all(type(part) is int and part >= 0 for part in cell):
                if self.count >= MOST_CELLS:
                    return
                self.count += 1
                pair.cells[cell[0], cell[1], cell[2], cell[3]] = said

    def _head(self, pair: PairGrid, batch: Mapping[str, Any]) -> None:
        pair.tokens, pair.corrupt_tokens = (token_labels(batch.get(key)) for key in ("tokens", "corrupt_tokens"))
        pair.answer, pair.counterfactual = ("".join(token_labels(batch.get(key))[:1]) for key in ("answer", "counterfactual"))
        pair.metric = clean(str(batch.get("metric", "")), limit=20)
        pair.first, pair.last = _count(batch.get("first")), _count(batch.get("last"))
        sites = batch.get("sites")
        self.sites = [clean(str(site), limit=20) for site in sites] if isinstance(sites, list) else []
        self.layers, self.heads = min(_count(batch.get("layers")), 1000), min(_count(batch.get("heads")), 1000)
        self.expected = _count(batch.get("pairs"))

    @property
    def aligned(self) -> bool:
        """Whether a position means the same in every pair, so that their mean is one grid."""
        return len(self.pairs) > 1 and len({(p.first, p.last, len(p.tokens)) for p in self.pairs.values()}) == 1

    def mean(self, place: Place) -> float | None:
        """Σ gains / Σ effects over the pairs: a pair that its corruption hardly changes counts for little."""
        gains = effects = 0.0
        for pair in self.pairs.values():
            value = pair.cells.get(place)
            if value is not None and pair.clean_metric is not None and pair.corrupt_metric is not None:
                effect = pair.clean_metric - pair.corrupt_metric
                gains, effects = gains + value * effect, effects + effect
        return gains / effects if effects else None

    def value(self, pair: int | None, place: Place) -> float | None:
        """One cell, of one pair or (None) of their mean; 0 before the corruption, where a patch puts back what is there."""
        if place[1] >= self.layers:
            return None
        shown = self.pairs.get(pair if pair is not None else next(iter(self.pairs), 0))
        if shown is None:
            return None
        if place[2] < shown.first:
            return 0.0
        return self.mean(place) if pair is None else shown.cells.get(place)


def token_labels(value: Any) -> list[str]:
    """Tokens as labels: without the space before them, and never empty."""
    if not isinstance(value, list):
        return []
    labels: Sequence[str] = [clean(str(token), limit=24) for token in value[:4096]]
    return [label.strip() or "␣" * max(1, len(label)) for label in labels]


def _count(value: Any) -> int:
    found = as_finite(value)
    return max(0, int(found)) if found is not None else 0
