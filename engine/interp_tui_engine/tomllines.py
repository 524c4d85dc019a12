"""Where in a TOML text each key stands, so that an error can name its line. The values themselves are tomli's business."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLE = re.compile(rf"^\s*\[\s*({_DOTTED})\s*\]\s*(?:#.*)?$")
_ARRAY_TABLE = re.compile(rf"^\s*\[\[\s*({_DOTTED})\s*\]\]\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"^\s*({_DOTTED})\s*=")


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(key[1:-1] if key[0] in "\"'" else key for key in re.findall(_KEY, dotted))


def key_lines(text: str) -> dict[KeyPath, int]:
    """For each key path in a valid TOML text, the 1-based line where it begins. Keys of inline tables share their table's line."""
    lines: dict[KeyPath, int] = {}
    prefix: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    closing: str | None = None
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if closing is not None:
            if closing in line:
                closing = None
            continue
        if depth == 0:
            if match := _ARRAY_TABLE.match(line):
                base = _split(match[1])
                prefix = (*base, counts.get(base, 0))
                counts[base] = counts.get(base, 0) + 1
                lines.setdefault(base, number)
                lines.setdefault(prefix, number)
                continue
            if match := _TABLE.match(line):
                prefix = _split(match[1])
                for end in range(1, len(prefix) + 1):
                    lines.setdefault(prefix[:end], number)
                continue
            match = _ASSIGNMENT.match(line)
            if match is None:
                continue
            path = (*prefix, *_split(match[1]))
            for end in range(len(prefix) + 1, len(path) + 1):
                lines.setdefault(path[:end], number)
            rest = line[match.end() :]
        else:
            rest = line
        bare = re.sub(r'"""(?:.*?)"""|\'\'\'(?:.*?)\'\'\'', "", rest)
        for quote in ('"""', "'''"):
            if quote in bare:
                closing = quote
        if closing is None:
            bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "", bare).split("#", 1)[0]
            depth = max(0, depth + sum(bare.count(c) for c in "[{") - sum(bare.count(c) for c in "]}"))
    return lines


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of the key at `path`, or of the nearest table that would hold it."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None
