"""The last gate in ascii mode: whatever a screen or widget drew, only ASCII leaves for the terminal, cell for cell."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

SAME = {
    "●": "*", "◐": "=", "◑": "-", "✓": "+", "✗": "x", "⚡": "! ", "■": "#", "◌": "o", "·": "-", "…": ".", "—": "-", "–": "-", "−": "-",
    "±": "~", "×": "x", "→": ">", "←": "<", "↑": "^", "↓": "v", "⏎": "<", "␛": "^", "▾": "v", "▸": ">", "▼": "v", "▶": ">", "▲": "^",
    "◀": "<",
    "‹": "<", "›": ">", "“": '"', "”": '"', "’": "'", "‘": "'", "√": "v", "≤": "<", "≥": ">", "≠": "#", "∈": "e", "∞": "8",
    "█": "#", "▓": "#", "▒": "+", "░": ".", "▁": "_", "▂": "_", "▃": ".", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "▔": "-", "▀": "-",
    "▏": "|", "▎": "|", "▍": "|", "▌": "|", "▋": "#", "▊": "#", "▉": "#", "▕": "|", "▐": "|", "◆": "*", "◇": "o", "•": "*", "◢": "/",
    "◣": "\\",
    "λ": "l", "Λ": "L", "β": "b", "γ": "g", "ε": "e", "σ": "s", "Δ": "d", "μ": "u", "θ": "t", "₀": "0", "₁": "1", "₂": "2", "\u0302": "",
    "²": "2", "³": "3", "½": "h", "°": "o", "∑": "S", "⌘": "c", "⭘": "o", "↻": "r", "╸": "-", "╺": "-", "━": "-", "\u00a0": " ",
}  # fmt: skip


class _Table(dict[int, str]):
    """What each character becomes, worked out when it is first seen."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if code < 0x80:
            out = char
        elif char in SAME:
            out = SAME[char]
        elif 0x2500 <= code <= 0x257F:  # box drawing
            out = "-" if char in "─━┄┅┈┉╌╍═╴╶╼╾" else "|" if char in "│┃┆┇┊┋╎╏║╵╷╽╿" else "+"
        elif 0x2800 <= code <= 0x28FF:  # braille dots, which plots are made of
            out = " " if code == 0x2800 else "*" if (code - 0x2800).bit_count() > 2 else "."
        elif 0x2400 <= code <= 0x241F:  # control pictures: caret notation's letter is more use than '?'
            out = chr(0x40 + code - 0x2400)
        else:
            out = "?" * cell_len(char)
        self[code] = out
        return out


_TABLE = _Table()


class AsciiFilter(LineFilter):
    """Replace every character beyond ASCII by one that means about the same, keeping all widths."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(segment.text.translate(_TABLE), segment.style, segment.control)
            for segment in segments
        ]
