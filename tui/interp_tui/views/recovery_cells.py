"""What a patching run has told of so far, as grids: layer × position for each kind of site, layer × position × head for heads. Headless.

Batches of cells may come in any order, twice, or malformed: what does not fit is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp_tui.text.sanitise import clean
from interp_tui_engine.payload import read
from interp_tui_engine.results.causal_trace import TraceCell

MOST_CELLS = 2_000_000
Place = tuple[int, int, int, int]
"""Index of the kind of site (one past the last means heads), layer, position, head."""


@dataclass
class PairGrid:
    """One pair's prompts and recoveries."""

    tokens: list[str] = field(default_factory=list)
    corrupt_tokens: list[str] = field(default_factory=list)
    uttered: tuple[str, ...] = ()
    """The clean tokens with the space before them, as `tokens` are not."""
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
            self._take(read(TraceCell, batches[step]))

    def _take(self, batch: TraceCell) -> None:
        if batch.pair is None:
            return
        pair = self.pairs.setdefault(batch.pair, PairGrid())
        pair.clean_metric, pair.corrupt_metric = batch.clean_metric, batch.corrupt_metric
        if batch.tokens:
            self._head(pair, batch)
        for cell, value in zip(batch.cells, batch.recovery, strict=False):
            place = tuple(part for part in cell if part is not None and part >= 0)
            if value is not None and len(cell) == len(place) == 4:
                if self.count >= MOST_CELLS:
                    return
                self.count += 1
                pair.cells[place[0], place[1], place[2], place[3]] = value

    def _head(self, pair: PairGrid, batch: TraceCell) -> None:
        pair.uttered = as_texts(batch.tokens)
        pair.tokens, pair.corrupt_tokens = token_labels(batch.tokens), token_labels(batch.corrupt_tokens)
        pair.answer, pair.counterfactual = ("".join(token_labels(tokens)[:1]) for tokens in (batch.answer, batch.counterfactual))
        pair.metric = clean(batch.metric, limit=20)
        pair.last = min(max(0, batch.last or 0), len(pair.tokens) - 1)
        pair.first = min(max(0, batch.first or 0), pair.last)
        self.sites = [clean(site, limit=20) for site in batch.sites]
        self.layers, self.heads = (min(max(0, count or 0), 1000) for count in (batch.layers, batch.heads))
        self.expected = max(0, batch.pairs or 0)

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


def token_labels(tokens: Sequence[str]) -> list[str]:
    """Tokens as labels: without the space before them, and never empty."""
    labels = [clean(token, limit=24) for token in tokens[:4096]]
    return [label.strip() or "␣" * max(1, len(label)) for label in labels]


def as_texts(tokens: Sequence[str]) -> tuple[str, ...]:
    """Tokens as they were read, each no longer than a screen is wide."""
    return tuple(token[:200] for token in tokens[:4096])
