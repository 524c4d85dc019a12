"""Lines of keys: hand-written corners of the TOML grammar, then random tables against where tomli_w put them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import tomli
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_tui_engine.toml_lines import KeyPath, key_lines, line_of, split_key


def line_with(text: str, mark: str) -> int:
    """The one line that holds the mark."""
    found = [number for number, line in enumerate(text.split("\n"), start=1) if mark in line]
    assert len(found) == 1
    return found[0]


CORNERS = '''
# a comment with = and [brackets]
kind = "llc" # here
"quoted key" = 1 # here
a.b . "c d" = 2 # here
inline = { x = 1, y = { z = "}" } } # here

[table] # here
text = """
not_a_key = 1
[not_a_table]
ends with quotes \\""""" # end
raw = \'\'\'
fake = "1"\'\'\' # end
after_text = [ # here
  "]", # first
  { deep = "#" }, # second
] # end
after_array = 1979-05-27 07:32:00 # here

[[step]] # first step
id = "one"
[step.params] # first params
lr = 1
[[step]] # second step
[step.params] # second params
lr = 2 # second lr
[[step.cases]] # first case
[[step.cases]] # second case
name = "n" # name
'''


@pytest.mark.parametrize(
    ("path", "mark"),
    [
        (("kind",), 'kind = "llc"'),
        (("quoted key",), '"quoted key"'),
        (("a",), "a.b ."),
        (("a", "b", "c d"), "a.b ."),
        (("inline", "y", "z"), "inline ="),
        (("table",), "[table] # here"),
        (("table", "text"), 'text = """'),
        (("table", "raw"), "raw ="),
        (("table", "after_text"), "after_text"),
        (("table", "after_text", 0), '"]", # first'),
        (("table", "after_text", 1, "deep"), "deep"),
        (("table", "after_array"), "after_array"),
        (("step", 0), "# first step"),
        (("step", 0, "params"), "# first params"),
        (("step", 1), "# second step"),
        (("step", 1, "params", "lr"), "# second lr"),
        (("step", 1, "cases", 0), "# first case"),
        (("step", 1, "cases", 1, "name"), "# name"),
    ],
)
def test_corner(path: KeyPath, mark: str) -> None:
    assert key_lines(CORNERS)[path] == line_with(CORNERS, mark)


def test_the_corners_are_valid_and_complete() -> None:
    assert set(key_lines(CORNERS)) == set(paths(tomli.loads(CORNERS)))


def test_no_key_inside_strings() -> None:
    names = {key for path in key_lines(CORNERS) for key in path}
    assert not names & {"not_a_key", "not_a_table", "fake"}


def test_windows_line_ends() -> None:
    assert key_lines("a = 1\r\n\r\n[t]\r\nb = 2\r\n") == {("a",): 1, ("t",): 3, ("t", "b"): 4}


def test_line_separators_inside_strings_are_no_lines() -> None:
    """U+2028 and U+0085 end a line for str.splitlines, but not in TOML."""
    assert key_lines('a = "x\u2028y\u0085"\nb = 1\n')[("b",)] == 2


def test_nearest_table_when_the_key_is_not_there() -> None:
    lines = key_lines("[a.b]\nc = 1\n")
    assert line_of(lines, ("a", "b", "missing", 3)) == 1
    assert line_of(lines, ("other",)) is None


@pytest.mark.parametrize("text", ["[", "[[a", "a", "a =", "a = [1, ", "a = {b", '"', "= 1", "a = [}", "[a]]]", 'x = """'])
def test_a_broken_text_ends_the_scan(text: str) -> None:
    with pytest.raises(tomli.TOMLDecodeError):
        tomli.loads(text)
    with contextlib.suppress(ValueError):
        key_lines(text)


def test_split_key() -> None:
    assert split_key("a.\"b.c\".'d e'") == ("a", "b.c", "d e")
    assert split_key(r'"\u00e9\n"') == ("é\n",)
    with pytest.raises(ValueError, match="no key"):
        split_key("a b")


KEYS = st.one_of(st.sampled_from(["a", "lr", "a-b", "0", "true", "model"]), st.text(min_size=0, max_size=6)).filter(
    lambda key: not any(0xD800 <= ord(c) < 0xE000 for c in key)
)
TEXT = st.text(max_size=20).filter(lambda text: not any(0xD800 <= ord(c) < 0xE000 for c in text)).map(lambda t: t.replace("\r", ""))
LEAVES = st.one_of(st.integers(-(2**62), 2**62), st.booleans(), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=20)
TABLES = st.dictionaries(KEYS, VALUES, max_size=6)


def paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    """Every path to a key or an array's entry in the value."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    found: list[KeyPath] = [(*path, key) for key, _ in items]
    for key, below in items:
        found += paths(below, (*path, key))
    return found


@settings(max_examples=60, deadline=None)
@given(TABLES, st.booleans())
def test_every_key_is_found(tables: dict[str, Any], multiline: bool) -> None:
    """Exactly the paths that tomli reads have a line; it holds the key, and no table begins after what is in it."""
    text = tomli_w.dumps(tables, multiline_strings=multiline)
    lines = key_lines(text)
    assert set(lines) == set(paths(tomli.loads(text)))
    rows = text.split("\n")
    for path, line in lines.items():
        assert 1 <= line <= len(rows)
        last = path[-1]
        if isinstance(last, str) and last.isascii() and last.isalnum():
            assert last in rows[line - 1], (path, line)
        parent = path[:-1]
        if parent:
            assert lines[parent] <= line


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), min_size=1), st.integers(0, 5))
def test_unique_keys_stand_on_their_line(tables: dict[str, int], blank: int) -> None:
    text = "\n" * blank + "[t]\n" + tomli_w.dumps(tables)
    for number, key in enumerate(tables, start=blank + 2):
        assert key_lines(text)[("t", key)] == number
