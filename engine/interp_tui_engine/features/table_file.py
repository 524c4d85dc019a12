"""A table by column as a Parquet file, whole or not there; and a digest of each of its columns."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(path: Path, table: Mapping[str, Sequence[Any]]) -> None:
    """Replace `path` by the table. Whole numbers, numbers, truth values and texts keep their type; None is a missing value."""
    import pyarrow as pa  # type: ignore[import-untyped]  # heavy, and only finished runs need it
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(pa.table({name: pa.array(list(values)) for name, values in table.items()}), beside, compression="zstd")
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def digests(table: Mapping[str, Sequence[Any]], name: str) -> dict[str, str]:
    """sha256 of each column's values, under `name/column`."""
    return {f"{name}/{key}": hashlib.sha256(json.dumps(list(values)).encode()).hexdigest() for key, values in table.items()}
