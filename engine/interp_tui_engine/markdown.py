"""Text from models and data in reports: plain words, whatever they hold, to a reader of Markdown and to a terminal that prints the file."""

from __future__ import annotations

MARKUP = frozenset("\\`*_{}[]<>#|!")
ONE_LINE = str.maketrans("\n\r\t", "⏎  ")


def words(text: object) -> str:
    """On one line, with no table cells, links, images or markup of its own, and control and bidi characters as signs that do nothing."""
    return "".join("\\" + c if c in MARKUP else c for c in " ".join(visible(str(text)).split()))


def code(text: object, limit: int | None = None) -> str:
    """For between backticks in a table's cell, where nothing can be escaped: on one line, of no more than `limit` characters."""
    return visible(str(text)[:limit].translate(ONE_LINE)).replace("`", "ˋ").replace("|", "¦")


def visible(text: str) -> str:
    """Characters that are not printed as what they are: control pictures, code points in angle quotes; white space stays."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in " \t\r\n" else _sign(c) for c in text)


def _sign(character: str) -> str:
    number = ord(character)
    return chr(0x2400 + number) if number < 0x20 else "␡" if number == 0x7F else f"‹{number:04X}›"
