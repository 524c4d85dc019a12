"""The ranked features of an inspect run: its table by column, its cards by feature. Headless; call `load` from a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from interp_tui_engine import atomic

from . import packed_columns
from .column_filter import matching

ALIASES = {"feature": "feature_id", "id": "feature_id", "side": "side_effect", "stable": "stability", "r": "correlation", "causal": "clear"}
"""Short names that a filter may use for columns."""

SORTS: tuple[tuple[str, bool], ...] = (
    ("rank", False),
    ("auroc", True),
    ("effect", True),
    ("stability", True),
    ("fires", True),
    ("layer", False),
)
"""Columns to sort by, in the order in which the key goes through them, and whether large values come first."""

REPEATS = 0.7
"""Cosine from which on a latent is one that another start found too; as the engine's dictionaries.repetition has it."""


@dataclass(frozen=True)
class FeatureTable:
    """Columns as features.parquet has them (equally long), and cards as report.json does."""

    columns: Mapping[str, Sequence[Any]]
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    criterion: str = ""

    @cached_property
    def place(self) -> dict[str, int]:
        """Where each feature stands."""
        return {name: index for index, name in enumerate(self.columns["feature_id"])}

    def __len__(self) -> int:
        return len(self.columns.get("feature_id", ()))

    def row(self, index: int) -> dict[str, Any]:
        """One feature's numbers by name."""
        return {name: column[index] for name, column in self.columns.items()}

    def chosen(self, text: str, sort: int) -> list[int]:
        """The rows that meet the filter, sorted; features without a value come last. Raises ValueError as `matching` does."""
        rows = matching(text, self.columns, ALIASES)
        name, down = SORTS[sort]
        if name == "rank":
            return rows
        column = self.columns.get(name) or [None] * len(self)
        sign = -1.0 if down else 1.0
        size = abs if name == "effect" else float

        def key(index: int) -> tuple[bool, float]:
            value = column[index]
            return (True, 0.0) if value is None else (False, sign * size(value))

        return sorted(rows, key=key)


def load(folder: Path) -> FeatureTable | None:
    """What a finished run left, or None where there is nothing that can be read."""
    report = atomic.read_json(folder / "report.json")
    stored = report.get("cards") if isinstance(report, dict) else None
    cards = {card["feature_id"]: card for card in stored or () if isinstance(card, dict) and isinstance(card.get("feature_id"), str)}
    stated = report.get("criterion") if isinstance(report, dict) else None
    criterion = str(stated.get("text", "")) if isinstance(stated, dict) else ""
    columns = _columns(folder / "features.parquet")
    return FeatureTable(columns, cards, criterion) if columns else None


LARGE = 1 << 20
"""Bytes of a file from which on its columns are read by another process, and kept packed."""


def _columns(path: Path) -> Mapping[str, Sequence[Any]]:
    """The columns by name; none where the file cannot be read, or names no features."""
    try:
        columns = packed_columns.read(path) if path.stat().st_size >= LARGE else _read_here(path)
    except OSError:
        return {}
    names = columns.get("feature_id")
    return columns if names and all(isinstance(name, str) for name in names) else {}


def _read_here(path: Path) -> Mapping[str, Sequence[Any]]:
    import pyarrow as pa  # type: ignore[import-untyped]  # heavy: only where there is a table to read
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    except (OSError, pa.ArrowException):
        return {}
    return columns
