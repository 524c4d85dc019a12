"""The migration page: its tables are the rows, and a test holds them to that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from . import objects, sides
from .rows import Peer

PAGE = Path(__file__).resolve().parents[2] / "examples" / "guides" / "moving-in.md"
_TABLE = re.compile(r"<!-- rows of (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
_OBJECTS = re.compile(r"<!-- objects -->\n.*?<!-- end -->", re.DOTALL)
_COUNT = re.compile(r"\((\d+)\)$")


def table(peer: Peer) -> str:
    """A peer's rows in Markdown, with the markers around them."""
    lines = [f"| {peer.name} | here | numbers | |", "|---|---|---|---|"]
    lines += [f"| {row.theirs} | {row.ours} | {row.outcome} | {row.why} |" for row in peer.rows]
    return "\n".join([f"<!-- rows of {peer.name} -->", *lines, "<!-- end -->"])


def with_tables(text: str) -> str:
    """The page with every table as the rows are now."""
    text = _TABLE.sub(lambda found: table(sides.PEERS[found["name"]]), text)
    return _OBJECTS.sub(lambda found: objects.table(), text)


def write() -> None:
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def tests_of(peer: Peer, states: Mapping[str, str]) -> Counter[str]:
    """The peer's own tests by what became of the row that restates them; `apart` are those that no row restates, each with its reason."""
    count: Counter[str] = Counter()
    for row in peer.rows:
        for name in row.tests:
            found = _COUNT.search(name)
            count[states[row.key]] += int(found[1]) if found else 1
    count["apart"] = sum(number for _, number, _ in peer.others)
    return count
