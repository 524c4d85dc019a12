"""Text of models and data in reports stays text."""

from __future__ import annotations

from interp_tui_engine.markdown import code, visible, words

EVIL = "\x1b]52;c;aGk=\x07[/b]\u202e|`<script>\x00\r\n# top\t\u2028end"


def test_code_is_one_cell_of_one_line() -> None:
    found = code(EVIL)
    assert found.isprintable() and not set("`|") & set(found)
    assert code("a\nb|c`d") == "a⏎b¦cˋd" and code("abcdef", 3) == "abc"


def test_words_have_no_markup_of_their_own() -> None:
    found = words(EVIL)
    assert found.isprintable() and "\\|" in found and "\\<script\\>" in found and found.replace("\\|", "").count("|") == 0


def test_a_report_keeps_its_lines_and_shows_what_would_act() -> None:
    report = f"# title\n\n| {EVIL} |\n"
    found = visible(report)
    assert found.startswith("# title\n\n| ␛]52;c;aGk=␇[/b]‹202E›") and visible(found) == found
    assert all(c.isprintable() or c in "\r\n\t" for c in found)
