"""JSON Lines as evidence files are kept: one object a line, plain or gzipped; every error names file, line and field."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic_core import from_json

from .. import atomic, untrusted
from ..errors import UserError
from ..numbers import finite

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
BLOCK_BYTES = 16 << 20
"""Lines are handed on together up to this size: a row of ten thousand latents is no smaller than a page of text."""
LINE_BYTES = 64 << 20
"""The longest line."""


class RowError(UserError):
    """One line of an evidence file that cannot be used."""

    def __init__(self, path: Path, line: int, field: str, what: str, hint: str = "") -> None:
        super().__init__(f"{path}, line {line}: {field + ' ' if field else ''}{what}", hint)
        self.path, self.line, self.field = path, line, field


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with their line numbers (from 1), blank lines passed over, a few in memory at a time.

    Raises RowError for a line that is no JSON object, UserError for a file that cannot be read.
    """
    for block in lines(path):
        for number, line in block:
            yield number, parsed(path, number, line)


def lines(path: Path, most: int = 4096) -> Iterator[list[tuple[int, bytes]]]:
    """A file's lines with their numbers (from 1) in blocks of at most `most` and about BLOCK_BYTES; blank ones left out.

    Raises UserError for a file that cannot be read.
    """
    try:
        with _opened(path) as file:
            number, block, size = 0, [], 0
            for number, line in enumerate(untrusted.lines(file, LINE_BYTES), 1):
                if number == 1 and line.startswith(BOM):
                    line = line[3:]
                if line.isspace():
                    continue
                block.append((number, line))
                size += len(line)
                if len(block) >= most or size >= BLOCK_BYTES:
                    yield block
                    block, size = [], 0
            if block:
                yield block
    except FileNotFoundError:
        raise UserError(f"no such file: {path}", "relative paths start at the manifest's folder") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file ({error})", "write it again, or give it uncompressed") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a file of records") from None
    except untrusted.Damaged as error:
        raise UserError(f"{path} cannot be used: it is or holds {error}", "JSON Lines: one record a line") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The object on a line. Raises RowError where it is none."""
    try:
        row = from_json(line, cache_strings="keys")
    except ValueError as error:
        raise RowError(path, number, "", f"not JSON ({_reason(error)})", "each line must be one JSON object") from None
    if type(row) is not dict:
        raise RowError(path, number, "", f"{_name(row)}, not an object", "each line must be one JSON object")
    return row


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Replace `path` by the records, a line each, gzipped where its name ends in .gz; in one step. Returns how many there were.

    Numbers must be finite: a NaN that is silently written as null would come back as a missing value. Raises UserError for one that is not.
    """
    count = 0
    with atomic.replacing(path) as beside, beside.open("wb") as raw:
        # mtime=0 and no name: equal records give equal bytes
        file: Any = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else raw
        for record in records:
            try:
                text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            except ValueError:
                raise UserError(f"row {count + 1} for {path.name} holds a number that is not finite: {_culprit(record)}") from None
            file.write(text.encode("utf-8", errors="surrogatepass") + b"\n")
            count += 1
        if file is not raw:
            file.close()
    return count


def text(path: Path, line: int, row: Mapping[str, Any], field: str, *, default: str | None = None) -> str:
    """A field that holds text; numbers are taken as text, as ids sometimes are. Raises RowError where it is missing or of another type."""
    value = row.get(field)
    if value is None:
        if default is not None:
            return default
        raise RowError(path, line, field, "is missing", f"fields here: {', '.join(map(str, row)) or 'none'}")
    if type(value) is str:
        return value
    if type(value) in (int, float):
        return str(value)
    raise RowError(path, line, field, f"is {_name(value)} {value!r:.60}, not text")


def real(path: Path, line: int, row: Mapping[str, Any], field: str) -> float:
    """A field that holds a finite number. Raises RowError where it does not."""
    if row.get(field) is None:
        raise RowError(path, line, field, "is missing", f"fields here: {', '.join(map(str, row)) or 'none'}")
    return finite_number(path, line, field, row[field])


def finite_number(path: Path, line: int, field: str, value: Any) -> float:
    """The value as a float. Raises RowError, with the value, where it is no number or not finite."""
    if type(value) not in (int, float):
        raise RowError(path, line, field, f"is {_name(value)} {value!r:.60}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RowError(path, line, field, f"is {value!r:.40}, not a finite number", "leave the value out where there is none")
    return number


def numbers(path: Path, line: int, row: Mapping[str, Any], field: str) -> list[float]:
    """A field that holds a list of finite numbers; empty where it is missing."""
    value = row.get(field)
    if value is None:
        return []
    if type(value) is not list:
        raise RowError(path, line, field, f"is {_name(value)}, not a list of numbers")
    return [finite_number(path, line, f"{field}[{index}]", item) for index, item in enumerate(value)]


def table(path: Path, line: int, row: Mapping[str, Any], field: str) -> dict[str, Any]:
    """A field that holds an object; empty where it is missing."""
    value = row.get(field)
    if value is None:
        return {}
    if type(value) is not dict:
        raise RowError(path, line, field, f"is {_name(value)}, not an object")
    return value


def whole(path: Path, line: int, row: Mapping[str, Any], field: str) -> int | None:
    """A field that holds a whole number, or nothing."""
    value = row.get(field)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise RowError(path, line, field, f"is {_name(value)} {value!r:.60}, not a whole number")
    return value


def _opened(path: Path) -> BinaryIO:
    file = untrusted.open_regular(path, 1 << 20)
    zipped = file.read(2) == GZIP
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file


def _reason(error: ValueError) -> str:
    return str(error).replace(" at line 1 column", " at column")


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _culprit(record: Mapping[str, Any]) -> str:
    cleaned = finite(record)
    return ", ".join(str(key) for key in record if cleaned[str(key)] != record[key])
