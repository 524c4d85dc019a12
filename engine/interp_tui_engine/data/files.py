"""Text out of local files: .jsonl, .txt, .csv and .parquet, read as they are needed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from interp_tui_engine import untrusted
from interp_tui_engine.errors import UserError

# A text file may be one book or a whole corpus with this line between its documents, as the TinyStories files have it.
_DOCUMENT_BREAK = "<|endoftext|>"
# Longer documents are handed on in pieces, so that taking ten rows of a huge file does not read all of it.
_PIECE_CHARACTERS = 1_000_000


def documents(path: Path, text_column: str | None) -> Iterator[str]:
    """The documents of a file, or of every file of a known kind in a folder and below, by sorted path.

    Raises UserError for a kind that cannot be read, a malformed line (with its number), or no column of text.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in READERS) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} holds no data files", f"expected one or more of {', '.join(READERS)}")
    for file in files:
        if file.suffix not in READERS:
            raise UserError(f"{file}: files ending in {file.suffix or 'nothing'} cannot be read", f"use one of {', '.join(READERS)}")
        yield from READERS[file.suffix](file, text_column)


def choose_column(where: str, row: dict[str, Any], wanted: str | None) -> str:
    """The column that holds the text: the one asked for, else `text`, else the only one of strings.

    Raises UserError where there is none.
    """
    columns = ", ".join(row) or "none"
    if wanted is not None:
        if wanted in row:
            return wanted
        near = get_close_matches(wanted, list(row), n=1, cutoff=0.5)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{where} has no column {wanted!r}", f"{meant}its columns: {columns}")
    strings = [name for name, value in row.items() if isinstance(value, str)]
    if "text" in strings:
        return "text"
    if len(strings) == 1:
        return strings[0]
    raise UserError(f"{where} has no column named 'text'", f"set text_column to one of its columns: {columns}")


def text_of(where: str, row: dict[str, Any], column: str) -> str:
    """The text of one row. Raises UserError for what is no text."""
    value = row.get(column)
    if not isinstance(value, str):
        instead = "no value" if value is None else f"{type(value).__name__} {value!r:.40}"
        raise UserError(f"{where}: column {column!r} holds {instead}, not text", "every row needs a string there")
    return value


def _jsonl(path: Path, wanted: str | None) -> Iterator[str]:
    column = None
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row = untrusted.parse_json(line)
            except untrusted.Damaged as error:
                raise UserError(f"{where}: {error}".replace("line 1, ", ""), "each line must be one JSON object") from None
            if not isinstance(row, dict):
                raise UserError(f"{where}: a {type(row).__name__}, not an object", 'each line must be one JSON object, as {"text": "..."}')
            column = column or choose_column(where, row, wanted)
            yield text_of(where, row, column)


def _txt(path: Path, wanted: str | None) -> Iterator[str]:
    if wanted is not None:
        raise UserError(f"{path}: a text file has no column {wanted!r}", "leave text_column out")
    piece: list[str] = []
    size = 0
    for line in _parts(path):
        ends = line.strip() == _DOCUMENT_BREAK
        if not ends:
            piece.append(line)
            size += len(line)
        if piece and (ends or size >= _PIECE_CHARACTERS):
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)


def _csv(path: Path, wanted: str | None) -> Iterator[str]:
    csv.field_size_limit(untrusted.MAX_LINE)
    column = None
    reader = csv.DictReader(_lines(path), restkey="(beyond the header)")
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            column = column or choose_column(str(path), row, wanted)
            yield text_of(where, row, column)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def _parquet(path: Path, wanted: str | None) -> Iterator[str]:
    import pyarrow as pa  # type: ignore[import-untyped]  # heavy, and only this kind needs it
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error})") from None
    column = None
    number = 0
    for batch in file.iter_batches(batch_size=256):
        for row in batch.to_pylist():
            number += 1
            column = column or choose_column(str(path), row, wanted)
            yield text_of(f"{path}, row {number}", row, column)


READERS: dict[str, Callable[[Path, str | None], Iterator[str]]] = {".jsonl": _jsonl, ".txt": _txt, ".csv": _csv, ".parquet": _parquet}


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file with their ends. Raises UserError for one that cannot be read, is no text, or has an endless line."""
    try:
        yield from untrusted.decoded_lines(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except untrusted.Damaged as error:
        hint = "convert it to UTF-8 first" if "UTF-8" in str(error) else "give a file of shorter lines"
        raise UserError(f"{path}: {error}".replace(": no UTF-8", ": not UTF-8"), hint) from None


def _parts(path: Path) -> Iterator[str]:
    """The lines of a text file, those of a million characters and more in parts: a book may be one line. Raises UserError."""
    try:
        with io.TextIOWrapper(untrusted.open_regular(path), encoding="utf-8") as file:
            while line := file.readline(_PIECE_CHARACTERS):
                yield line
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})", "convert it to UTF-8 first") from None
    except untrusted.Damaged as error:
        raise UserError(f"{path} is {error}", "give a text file") from None
