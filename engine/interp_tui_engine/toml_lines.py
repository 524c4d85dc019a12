"""Where in a TOML text each key stands, so that an error can name its line. The values themselves are tomli's business."""

from __future__ import annotations

import re

import tomli

KeyPath = tuple[str | int, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_ONE_KEY = re.compile(_KEY)
_DOTTED = re.compile(rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # a multi-line string may end in one or two quotes of its own
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^\s,\]}#][^,\]}#\n]*",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """For each key path in a valid TOML text, the 1-based line where it begins; entries of arrays have paths ending in their index."""
    return _Scanner(text).scan()


def split_key(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted TOML key, quoted parts unquoted. Raises ValueError when it is no key."""
    if not _DOTTED.fullmatch(dotted):
        raise ValueError(f"{dotted!r} is no key")
    return tuple(tomli.loads(f"v = {key}")["v"] if key[0] in "\"'" else key for key in _ONE_KEY.findall(dotted))


class _Scanner:
    """One pass over a valid text. It knows only where keys and values end; whatever it does not follow, it leaves without a line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.counted = 0
        self.lines: dict[KeyPath, int] = {}
        self.tables: dict[KeyPath, int] = {}
        """For each array of tables, how many entries it has so far."""

    def scan(self) -> dict[KeyPath, int]:
        prefix: KeyPath = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                prefix = self.header()
            elif not self.assignment(prefix):
                break
            self.skip(_BLANK)
        return self.lines

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Step over the pattern, if it stands here; returns what was stepped over."""
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def note(self, path: KeyPath, start: int) -> None:
        """Record the line for the path and for the tables above it that have none yet."""
        self.line += self.text.count("\n", self.counted, start)
        self.counted = start
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], self.line)

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; returns the path its keys hang from, which leads through the newest entry of each array of tables."""
        start = self.at
        is_array = self.text.startswith("[[", start)
        self.at += 2 if is_array else 1
        self.skip(_BLANK)
        keys = split_key(self.skip(_DOTTED))
        self.skip(_BLANK)
        self.at += 2 if is_array else 1
        path: KeyPath = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            if is_array and index == len(keys) - 1:
                self.tables[path] = self.tables.get(path, 0) + 1
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
        self.note(path, start)
        return path

    def assignment(self, prefix: KeyPath) -> bool:
        """`a.b = value`; False when there is no key here."""
        start = self.at
        dotted = self.skip(_DOTTED)
        if not dotted:
            return False
        path = (*prefix, *split_key(dotted))
        self.note(path, start)
        self.skip(_BLANK)
        self.at += 1  # the equals sign
        self.value(path)
        return True

    def value(self, path: KeyPath) -> None:
        self.skip(_BLANK)
        opening = self.text[self.at : self.at + 1]
        if opening not in ("[", "{") or not opening:
            self.skip(_SCALAR)
            return
        self.at += 1
        closing = "]" if opening == "[" else "}"
        index = 0
        while True:
            self.skip(_BLANK)
            if self.at >= len(self.text) or self.text[self.at] == closing:
                break
            before = self.at
            if self.text[self.at] == ",":
                self.at += 1
                index += 1
            elif opening == "{":
                self.assignment(path)
            else:
                self.note((*path, index), self.at)
                self.value((*path, index))
            if self.at == before:
                return
        self.at += 1


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of the key at `path`, or of the nearest table that would hold it."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None
