"""Columns of a large Parquet file in little memory: a process of its own reads it, and what comes back is eight bytes a number.

The library that reads Parquet takes 90 MiB as soon as it is imported, and a list of Python floats four times what its numbers need; a table
of fifty thousand rows would cost the app more than all else it holds. Run as a program, this module is that process.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

SECONDS = 120.0
"""After which a file that has not been read yet never will be."""
NO_INTEGER = -(2**63)


class Packed(Sequence[Any]):
    """Numbers or truths side by side; None where a row has none."""

    def __init__(self, kind: str, values: array[Any]) -> None:
        self.kind, self.values = kind, values

    def _shown(self, value: Any) -> Any:
        if self.kind == "float":
            return None if math.isnan(value) else value
        if self.kind == "bool":
            return None if value < 0 else bool(value)
        return None if value == NO_INTEGER else value

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return map(self._shown, self.values)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._shown(value) for value in self.values[index]]
        return self._shown(self.values[index])


CODES = {"float": "d", "integer": "q", "bool": "b"}
EMPTY: Mapping[str, Any] = {"float": math.nan, "integer": NO_INTEGER, "bool": -1}


def read(path: Path) -> Mapping[str, Sequence[Any]]:
    """The file's columns by name; none where it cannot be read. Blocks for half a second and more: call it from a thread."""
    command = [sys.executable, "-P", "-m", "interp_tui.runs.packed_columns", str(path)]
    try:
        child = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=True)
        return unpacked(child.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def pack(columns: Mapping[str, Sequence[Any]], out: BinaryIO) -> None:
    """Write the columns: a line that says what they are, then each as it lies in memory; texts as JSON."""
    parts, about = [], []
    for name, column in columns.items():
        kind = _kind(column)
        part = json.dumps(list(column)).encode() if kind == "text" else _side_by_side(kind, column).tobytes()
        parts.append(part)
        about.append({"name": name, "kind": kind, "bytes": len(part)})
    out.write(json.dumps(about).encode() + b"\n")
    for part in parts:
        out.write(part)


def _side_by_side(kind: str, column: Sequence[Any]) -> array[Any]:
    empty = EMPTY[kind]
    values: list[Any] = [empty if value is None else value for value in column]
    return array(CODES[kind], values)


def unpacked(content: bytes) -> dict[str, Sequence[Any]]:
    """What `pack` wrote. Raises ValueError where it is cut short."""
    start = content.index(b"\n") + 1
    columns: dict[str, Sequence[Any]] = {}
    view = memoryview(content)
    for column in json.loads(content[:start]):
        part = view[start : start + column["bytes"]]
        if len(part) != column["bytes"]:
            raise ValueError("cut short")
        start += column["bytes"]
        if column["kind"] == "text":
            columns[column["name"]] = json.loads(bytes(part))
            continue
        values = array(CODES[column["kind"]])
        values.frombytes(part)
        columns[column["name"]] = Packed(column["kind"], values)
    return columns


def _kind(column: Sequence[Any]) -> str:
    """Which of the kinds holds every value; text for whatever else there is."""
    types = {type(value) for value in column if value is not None}
    if types <= {bool}:
        return "bool"
    if types <= {int}:
        return "integer" if all(value is None or abs(value) < 2**62 for value in column) else "text"
    return "float" if types <= {int, float} else "text"


def main(path: str) -> int:
    """Read a Parquet file and write its columns to standard output."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    pack(pq.read_table(path).to_pydict(), sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
