"""A table by column as a Parquet file, whole or not there; and a digest of each of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..digests import of_json


def write(path: Path, table: Mapping[str, Sequence[Any]]) -> None:
    """Replace `path` by the table. Whole numbers, numbers, truth values and texts keep their type; None is a missing value."""
    import pyarrow as pa  # type: ignore[import-untyped]  # heavy, and only finished runs need it
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with atomic.replacing(path) as beside:
        pq.write_table(pa.table({name: pa.array(list(values)) for name, values in table.items()}), beside, compression="zstd")


def digests(table: Mapping[str, Sequence[Any]], name: str) -> dict[str, str]:
    """sha256 of each column's values, under `name/column`."""
    return {f"{name}/{key}": of_json(list(values), sort_keys=False) for key, values in table.items()}
