"""The one gate through which text from models, data, run folders and file names reaches the terminal.

A token or a file name may hold escape sequences (OSC 52 writes the clipboard), bidi overrides that reorder what follows, or characters
of no width that hide. All of them are shown as visible glyphs, and none is read as markup.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Cc control, Cf format (bidi, zero-width, soft hyphen, tags), Cs lone surrogates (cannot be encoded), Zl/Zp separators (move the cursor),
# Co private use and Cn unassigned (the terminal's width for them is anyone's guess, so that columns would shift)
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"})
GLYPHS = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x7f": "␡", "\u00a0": "⍽"}
ASCII_GLYPHS = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e"}
FORMULA = ("=", "+", "-", "@")
"""With what a cell begins that a spreadsheet may run."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)


@lru_cache(4096)
def _glyph(char: str) -> str:
    if char in GLYPHS:
        return GLYPHS[char]
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    # variation selectors change how wide the glyph before them is drawn, and no two terminals agree by how much
    if unicodedata.category(char) in HIDDEN or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:
        return f"‹{code:04X}›"
    return char


def clean(text: str, *, limit: int | None = None) -> str:
    """`text` on one line and safe for a terminal; cut to `limit` characters, the last of them '…', where it is longer."""
    text = str(text)
    if limit is not None and len(text) > limit:
        text = text[: limit + 1]  # so that a megabyte of model output costs no more than what is shown of it
    shown = text if text.isascii() and text.isprintable() else "".join(map(_glyph, text))
    if limit is not None and len(shown) > limit:
        shown = shown[: max(0, limit - 1)] + "…"
    return shown


def clean_lines(text: str) -> str:
    """As `clean`, but line ends stay line ends: for logs and reports."""
    return "\n".join(clean(line.expandtabs(4)) for line in text.splitlines())


def cell(value: object) -> object:
    """A value for a CSV file: text without control characters, and never a formula to the spreadsheet that opens it.

    A leading quote, which spreadsheets take for "this is text", keeps =, +, -, @ and what they skip before those from being run.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    shown = "".join(char if char in "\n\t" else _glyph(char) for char in str(value))
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) and not NUMBER.fullmatch(shown) else shown
