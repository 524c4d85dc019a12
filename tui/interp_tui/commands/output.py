"""How commands speak: results on stdout, narration on stderr, errors in words or as JSON lines. Everything shown is sanitised."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..text.sanitise import clean

RED, YELLOW, RESET = "\x1b[31m", "\x1b[33m", "\x1b[0m"


def out(line: str = "") -> None:
    """One line of the result, on stdout."""
    sys.stdout.write(clean(line) + "\n")


def say(line: str) -> None:
    """One line of narration, on stderr."""
    sys.stderr.write(clean(line) + "\n")
    sys.stderr.flush()


def warn(line: str) -> None:
    """One line of narration that should not be overlooked."""
    sys.stderr.write(f"{_coloured('warning:', YELLOW)} {clean(line)}\n")


def out_path(path: Path) -> None:
    """A path on a line of its own: as it is for a script, made safe for a terminal."""
    text = str(path)
    sys.stdout.write((clean(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def out_text(text: str) -> None:
    """Text that other programs read (TOML, CSV): as it is in a pipe, each line made safe on a terminal."""
    if sys.stdout.isatty():
        text = "".join(clean(line.expandtabs(4)) + "\n" for line in text.splitlines())
    sys.stdout.write(text)


def out_json(value: Any, *, indent: int | None = 1) -> None:
    """A JSON value on stdout, in ASCII: nothing in it can steer a terminal. Numbers that are not finite become null."""
    from interp_tui_engine.numbers import finite

    sys.stdout.write(json.dumps(finite(value), indent=indent, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def event(kind: str, **fields: Any) -> None:
    """A line of our own among the events of `--json`: sequence number 0, a type no run uses."""
    out_json({"v": 1, "seq": 0, "t": round(time.time(), 3), "type": kind, **fields}, indent=None)


def error(what: str, hint: str = "", *, exit_code: int, as_json: bool, problems: Sequence[Any] = ()) -> None:
    """An error: `error: …` and its hint on stderr, or one JSON line on stdout."""
    if as_json:
        listed = [
            {"path": p.path, "message": p.message, "line": p.line, "value": _plain(p.value), "suggestion": p.suggestion} for p in problems
        ]
        event("error", what=what, hint=hint, exit_code=exit_code, **({"problems": listed} if listed else {}))
        return
    lines = [f"{_coloured('error:', RED)} {clean(what)}", *(f"  {clean(str(problem))}" for problem in problems)]
    lines += [f"  {clean(line.removeprefix('  '))}" for line in hint.splitlines()]
    sys.stderr.write("\n".join(lines) + "\n")


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _coloured(text: str, colour: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else f"{colour}{text}{RESET}"


def columns(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """The rows as lines with aligned columns, the columns numbered in `right` to the right; cells are sanitised."""
    table = [[clean(cell) for cell in row] for row in rows]
    lengths = [[width(cell) for cell in row] for row in table]
    widths = [max((row[i] for row in lengths if i < len(row)), default=0) for i in range(max(map(len, table), default=0))]

    def padded(cell: str, length: int, index: int) -> str:
        space = " " * (widths[index] - length)
        return space + cell if index in right else cell + space

    return ["  ".join(map(padded, row, row_lengths, range(len(row)))).rstrip() for row, row_lengths in zip(table, lengths, strict=True)]


def width(text: str) -> int:
    """Cells that sanitised text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
