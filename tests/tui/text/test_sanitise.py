"""Nothing that a model, a dataset or a file name can say moves the cursor, hides, or is read as markup."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from interp_tui.text.asciify import AsciiFilter
from interp_tui.text.sanitise import clean, clean_lines

DANGEROUS = "\x1b]52;c;aGk=\x07 \x1b[31m [/b] \u202eabc\u2066 a\u200bb \x9b31m \ud800 \r\n\u2028 a\ufe0f"


def test_every_hidden_character_is_shown() -> None:
    shown = clean(DANGEROUS)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    assert "␛]52;c;aGk=␇" in shown
    assert "‹202E›abc‹2066›" in shown
    assert "[/b]" in shown
    shown.encode()


@given(st.text(alphabet=st.characters()))
def test_no_text_gets_through(text: str) -> None:
    shown = clean(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clean(shown) == shown


@given(st.text(), st.integers(1, 20))
def test_limit_is_kept(text: str, limit: int) -> None:
    assert len(clean(text, limit=limit)) <= limit


def test_a_megabyte_costs_only_what_is_shown() -> None:
    assert clean("\x1b" * 10_000_000, limit=3) == "␛␛…"


def test_lines_stay_lines() -> None:
    assert clean_lines("a\tb\n\x1b[0m") == "a   b\n␛[0m"


@given(st.text())
def test_ascii_mode_keeps_every_width(text: str) -> None:
    shown = clean(text)
    (segment,) = AsciiFilter().apply([Segment(shown)], Color(0, 0, 0))
    assert segment.text.isascii()
    combining = sum(cell_len(c) == 0 for c in shown)
    assert combining or cell_len(segment.text) == cell_len(shown)
