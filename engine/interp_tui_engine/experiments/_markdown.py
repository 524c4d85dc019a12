"""Text from models and data in reports: plain words, whatever they hold, to a reader of Markdown and to a terminal that prints the file."""

from __future__ import annotations

MARKUP = frozenset("\\`*_{}[]<>#|!")


def words(text: object) -> str:
    """On one line, with no table cells, links, images or markup of its own, and control and bidi characters as signs that do nothing."""
    return "".join("\\" + c if c in MARKUP else c for c in " ".join(visible(str(text)).split()))


def code(text: object) -> str:
    """For between backticks in a table's cell, where nothing can be escaped."""
    return visible(str(text)).replace("`", "ˋ").replace("|", "¦")


def visible(text: str) -> str:
    """Characters that are not printed as what they are: control pictures, code points in angle quotes; white space stays."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in " \t\r\n" else _sign(c) for c in text)


def _sign(character: str) -> str:
    number = ord(character)
    return chr(0x2400 + number) if number < 0x20 else "␡" if number == 0x7F else f"‹{number:04X}›"
