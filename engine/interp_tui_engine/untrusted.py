"""JSON and TOML from files that somebody else may have written: bounded in size and depth, and wrong in one way only. Torch-free.

Both parsers fail in several ways on hostile text: a recursion error on a hundred thousand brackets, a plain ValueError on an integer of
more digits than Python converts, memory on a file of gigabytes, a hang on a pipe. Here each of these is a `Damaged`, a ValueError. What is
returned is nested no deeper than `MAX_DEPTH`, so that code which walks it by recursion cannot fail either.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import tomli

MAX_DEPTH = 100
"""Levels of lists and tables. What this program writes has fewer than twenty."""
MAX_JSON = 256 << 20
"""Bytes of a JSON file; the largest of this program's own are results and reports of tens of MiB."""
MAX_TOML = 16 << 20
"""Bytes of a TOML file. A larger one is no manifest but most likely a model or a data set given in its place."""

MAX_LINE = 16 << 20
"""Bytes of one line of a file of lines: a line is one event, one record or one document."""


class Damaged(ValueError):
    """A file or text that is not what it should be: too large, nested too deep, no regular file, or malformed. The text says which."""


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a regular file to read. Raises Damaged for a pipe, a device or a folder: those could feed a reader forever. Else OSError."""
    # without O_NONBLOCK, opening a pipe that nobody writes to would wait forever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("not a regular file")
    return os.fdopen(descriptor, "rb", buffering)


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to write at its end, made if need be. Raises OSError; also for a pipe or a device, which could hold a writer forever."""
    irregular = OSError(errno.ENXIO, "not a regular file", str(path))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        raise irregular if error.errno == errno.ENXIO else error from None  # a pipe that nobody reads
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise irregular
    return os.fdopen(descriptor, "ab")


def last_lines(path: Path, count: int, size: int = 1 << 16) -> list[str]:
    """The last lines that are not empty of a text file, of its last `size` bytes, odd bytes replaced; none where it cannot be read."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size).decode("utf-8", errors="replace").strip().splitlines()[-count:]
    except (OSError, ValueError):
        return []


def decoded_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file. Raises Damaged for an over-long line or what is no text, else OSError."""
    with open_regular(path) as file:
        for number, line in enumerate(lines(file)):
            try:
                yield line.decode("utf-8-sig" if number == 0 else "utf-8")
            except UnicodeDecodeError as error:
                raise Damaged(f"no UTF-8 text ({error.reason})") from None


def lines(file: BinaryIO, limit: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a file with their ends. Raises Damaged for one of more than `limit` bytes, with no more than that in memory."""
    while line := file.readline(limit + 1):
        if len(line) > limit:
            raise Damaged(f"a line of more than {limit / 2**20:.0f} MiB")
        yield line


def read_bytes(path: Path, limit: int) -> bytes:
    """The contents of a regular file of at most `limit` bytes. Raises Damaged for another kind of file or a larger one, else OSError."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Damaged(f"larger than {limit / 2**20:.0f} MiB")
    return content


def parse_json(text: str | bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The JSON value of a text. Raises Damaged."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Damaged(f"not JSON ({error.msg} at line {error.lineno}, column {error.colno})") from None
    except UnicodeDecodeError:
        raise Damaged("not JSON (no UTF-8 text)") from None
    except ValueError:  # Python converts no integer of more than 4,300 digits
        raise Damaged("not JSON (a number of too many digits)") from None
    except RecursionError:
        raise Damaged("nested too deep") from None
    return no_deeper(value, text, max_depth)


def read_json(path: Path, limit: int = MAX_JSON) -> Any:
    """The JSON value in a file. Raises Damaged, else OSError."""
    return parse_json(read_bytes(path, limit))


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises tomli.TOMLDecodeError with the place where the text is malformed, else Damaged."""
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError:
        raise
    except RecursionError:
        raise Damaged("tables or arrays are nested too deep") from None
    except (ValueError, OverflowError) as error:
        digits = "digits" in str(error)
        raise Damaged("a number has too many digits" if digits else f"a value cannot be represented ({error})") from None
    dotted: dict[str, Any] = no_deeper(tables, text, MAX_DEPTH, brackets="[{.")
    return dotted


def read_toml(path: Path, limit: int = MAX_TOML) -> dict[str, Any]:
    """The tables of a TOML file. Raises Damaged for whatever is wrong with its contents, else OSError."""
    try:
        return parse_toml(read_bytes(path, limit).decode("utf-8-sig"))
    except tomli.TOMLDecodeError as error:
        raise Damaged(f"not TOML ({error})") from None
    except UnicodeDecodeError:
        raise Damaged("not TOML (no UTF-8 text)") from None


def text_or_empty(path: Path, characters: int) -> str:
    """The first so many characters of a text file, odd bytes replaced; empty where it is missing or no regular file."""
    try:
        with open_regular(path) as file:
            return file.read(4 * characters).decode("utf-8", errors="replace")[:characters]
    except (OSError, ValueError):
        return ""


def table_or_none(path: Path) -> dict[str, Any] | None:
    """The tables of a TOML file, or None where it is missing or damaged."""
    try:
        return read_toml(path)
    except (OSError, ValueError):
        return None


def json_or_none(path: Path, limit: int = MAX_JSON) -> Any:
    """The JSON value in a file, or None where it is missing or damaged."""
    try:
        return read_json(path, limit)
    except (OSError, ValueError):
        return None


def no_deeper(value: Any, text: str | bytes, limit: int = MAX_DEPTH, brackets: str = "[{") -> Any:
    """The value; Damaged where it is nested deeper. Most texts have fewer brackets than that, which is counted in no time."""
    marks: Iterable[Any] = brackets if isinstance(text, str) else brackets.encode()
    if sum(text.count(mark) for mark in marks) <= limit:
        return value
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return value
    raise Damaged(f"nested deeper than {limit} levels")
