"""About how many rows a manifest's data has, from the sizes of its files, before any is read. Torch-free."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from interp_tui_engine.data import builtin, files
from interp_tui_engine.data.facts import sentences
from interp_tui_engine.specs import DataSpec

_BYTES_A_TOKEN = 3.5
_PACKED = {".parquet": 3.0}
"""Times as much text as bytes in the file."""
_PROSE_SHARE = 0.17
"""Of the standard library's bytes: its docstrings."""


def row_count(spec: DataSpec) -> int | None:
    """Rows of `spec`, within a factor of two for ordinary text; None for data of a hub, whose size is known there.

    Never more than `spec.rows`, and never 0.
    """
    size = _text_bytes(spec)
    if size is None:
        return spec.rows
    there = max(1, round(size / _BYTES_A_TOKEN / (spec.context + 1)))
    return there if spec.rows is None else min(there, spec.rows)


def _text_bytes(spec: DataSpec) -> float | None:
    if spec.source.startswith("builtin:"):
        split = "heldout" if spec.split == "heldout" else "train"
        return _builtin_bytes(spec.source.removeprefix("builtin:"), split)
    path = Path(spec.source).expanduser()
    try:
        if path.is_file():
            return _bytes_of(path)
        if path.is_dir():
            return sum(_bytes_of(file) for file in path.rglob("*") if file.suffix in files.READERS and file.is_file()) or None
    except OSError:
        return None
    return None


def _bytes_of(path: Path) -> float:
    return path.stat().st_size * _PACKED.get(path.suffix, 1.0)


@cache
def _builtin_bytes(name: str, split: builtin.Split) -> float | None:
    if name == "facts":
        return float(sum(map(len, sentences())))
    if name not in builtin.BUILTIN:
        return None
    total = float(sum(path.stat().st_size for path in builtin.stdlib_files(split)))
    return total * _PROSE_SHARE if name == "prose" else total
